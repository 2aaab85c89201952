"""A dataset on disk: a folder of Parquet tables and content-addressed media, and the SQL views over it.

`docs/format.md` draws the folder. Rows are appended in whole parts (`curation/tables.py`); the state of everything is
a query, here in DuckDB, though pandas or any other reader of Parquet does as well.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import duckdb
import pyarrow as pa

from curation.errors import FINAL_CODES, MAX_ATTEMPTS, ArgumentError, DatasetError
from curation.facts import FactTable
from curation.media import MediaStore
from curation.schema import SCHEMA_VERSION, TABLES
from curation.stage import Stage
from curation.tables import append_part, part_files, rows_to_table, write_bytes, write_parquet

CONFIG_FILE = "dataset.json"

_TABLE_VIEWS = {
    "annotations": "SELECT DISTINCT ON (key, list, line) * FROM {parts} WHERE list IN ({lists})",
    "rejects": "SELECT DISTINCT ON (list, line) * FROM {parts} WHERE list IN ({lists})",
    "clips": "SELECT clip_id, any_value(COLUMNS(* EXCLUDE (clip_id, prev_clip_id, origin))), "
    "max(prev_clip_id) AS prev_clip_id, min(origin) AS origin FROM {parts} "  # `list` before `segment`
    "WHERE origin = 'segment' OR clip_id IN (SELECT key FROM annotations) GROUP BY clip_id",
    "videos": "SELECT video_key, any_value(COLUMNS(* EXCLUDE (video_key, segment_ms))), max(segment_ms) AS segment_ms "
    "FROM {parts} WHERE video_key IN (SELECT key FROM annotations UNION ALL SELECT video_key FROM clips) "
    "GROUP BY video_key",  # a later list may ask to segment a video that was known by its clips
}
"""Rows of a list count only once its source stands in `dataset.json`, so half an ingest is never seen: neither its
annotations nor the clips and videos that only they name."""


def quoted(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def parts_sql(files: Iterable[Path]) -> str:
    """SQL that reads part files, older ones lacking newer columns."""
    return f"read_parquet([{', '.join(quoted(str(file)) for file in files)}], union_by_name=true)"


def is_final_sql() -> str:
    """SQL condition: a fact row will not be tried again, being done, finally set aside, or out of attempts."""
    codes = ", ".join(quoted(code) for code in sorted(FINAL_CODES))
    return f"(code IS NULL OR code IN ({codes}) OR attempt >= {MAX_ATTEMPTS})"


class Dataset:
    """A dataset folder that is open for queries and for appending.

    Args:
        path: The folder; it must hold `dataset.json`.

    Raises:
        DatasetError: There is no dataset, or a newer version of foundsound wrote it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser().resolve()
        file = self.path / CONFIG_FILE
        if not file.is_file():
            raise DatasetError(
                f"{self.path} is not a dataset: it has no {CONFIG_FILE}; make one with `foundsound manifest`"
            )
        try:
            self.config: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DatasetError(f"{file} is not JSON ({error}); restore it from a copy") from error
        version = self.config.get("schema_version")
        if not isinstance(version, int) or version > SCHEMA_VERSION:
            raise DatasetError(
                f"{self.path} has schema version {version!r}; this foundsound reads up to {SCHEMA_VERSION}: update it"
            )

    @classmethod
    def create(cls, path: str | Path) -> Self:
        """Make an empty dataset in a new or empty folder.

        Raises:
            ArgumentError: The folder holds something, or is a file.
        """
        folder = Path(path).expanduser().resolve()
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ArgumentError(f"{folder} is a file, or not empty and not a dataset; give another folder with --out")
        for name, schema in TABLES.items():
            write_parquet(folder / name / "part-0-schema.parquet", schema.empty_table())
        config = {"schema_version": SCHEMA_VERSION, "roots": {"media": "media"}, "sources": []}
        write_bytes(folder / CONFIG_FILE, json.dumps(config, indent=2).encode())
        return cls(folder)

    @classmethod
    def open_or_create(cls, path: str | Path) -> Self:
        """Open the dataset in this folder, or make an empty one where there is none."""
        folder = Path(path).expanduser()
        return cls(folder) if (folder / CONFIG_FILE).is_file() else cls.create(folder)

    def __repr__(self) -> str:
        return f"Dataset({str(self.path)!r})"

    @property
    def media(self) -> MediaStore:
        """The store of the cut sounds and pictures."""
        return MediaStore(self.path / self.config["roots"]["media"])

    def folder(self, kind: str) -> Path:
        """A folder of the dataset, as `selections`, `shards`, `vectors`; not made here."""
        return self.path / kind

    def set_config(self, **changes: Any) -> None:
        """Change keys of `dataset.json` in one step."""
        self.config = {**self.config, **changes}
        write_bytes(self.path / CONFIG_FILE, json.dumps(self.config, indent=2, ensure_ascii=False).encode())

    def add_source(self, source: Mapping[str, Any]) -> None:
        """Record an ingested list; this is the commit of its rows."""
        self.set_config(sources=[*self.config["sources"], dict(source)])

    def append(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Commit rows of the table `videos`, `clips`, `annotations` or `rejects` as one part."""
        append_part(self.path / name, rows_to_table(rows, TABLES[name]))

    def facts(self, stage: Stage) -> FactTable:
        """The facts of a stage with this identity."""
        return FactTable.of(self.path / "facts", stage)

    def stages(self) -> list[str]:
        """Names of the stages that have run on this dataset."""
        return sorted(folder.name for folder in (self.path / "facts").glob("*") if FactTable.current(folder))

    def has_stage(self, name: str) -> bool:
        """Whether a stage has run, that is, whether its view can be queried."""
        return bool(FactTable.current(self.path / "facts" / name))

    def current_facts(self, name: str) -> dict[str, Path]:
        """Label -> folder of the facts of a stage that its view reads."""
        return FactTable.current(self.path / "facts" / name)

    def _create_views(self, connection: duckdb.DuckDBPyConnection) -> None:
        lists = ", ".join(quoted(source["list"]) for source in self.config["sources"]) or "''"
        for name, view in _TABLE_VIEWS.items():
            sql = view.format(parts=parts_sql(part_files(self.path / name)), lists=lists)
            connection.execute(f'CREATE VIEW "{name}" AS {sql}')
        for stage in self.stages():
            labels = FactTable.current(self.path / "facts" / stage)
            union = " UNION ALL BY NAME ".join(
                f"SELECT {quoted(label)} AS label, * FROM {parts_sql(part_files(folder))}"
                for label, folder in labels.items()
            )
            connection.execute(
                f"""CREATE VIEW "{stage}" AS
                SELECT *, CASE WHEN code IS NULL THEN 'done' WHEN {is_final_sql()} THEN 'set_aside'
                    ELSE 'pending' END AS state
                FROM ({union})
                QUALIFY row_number() OVER (PARTITION BY label, key ORDER BY finished_at DESC, attempt DESC) = 1"""
            )

    def connect(self) -> duckdb.DuckDBPyConnection:
        """An in-memory DuckDB connection with a view for every table and every stage that has run."""
        connection = duckdb.connect(":memory:")
        connection.execute("SET autoinstall_known_extensions = false; SET autoload_known_extensions = false")
        connection.execute("SET enable_progress_bar = false; SET TimeZone = 'UTC'")
        self._create_views(connection)
        return connection

    def sql(self, query: str, parameters: Iterable[Any] = (), **tables: pa.Table) -> pa.Table:
        """Run a query over the dataset's views.

        Args:
            query: SQL as DuckDB understands it.
            parameters: Values for `?` in the query.
            **tables: Arrow tables that the query may name.

        Raises:
            DatasetError: The query names a stage that has not run, or is not SQL; the text says which.
        """
        with self.connect() as connection:
            for name, rows in tables.items():
                connection.register(name, rows)
            try:
                return connection.sql(query, params=list(parameters)).to_arrow_table()
            except (duckdb.CatalogException, duckdb.BinderException, duckdb.ParserException) as error:
                raise DatasetError(
                    f"{self.path}: {str(error).splitlines()[0]} (stages that have run: "
                    f"{', '.join(self.stages()) or 'none'}; tables: {', '.join(TABLES)})"
                ) from error

    def pending(self, stage: Stage) -> pa.Table:
        """The requests of a stage that have no final row yet.

        Returns:
            The columns of `stage.requests()` and `attempts` (int, how often each was tried), sorted by key.
        """
        folder = self.facts(stage).folder
        reopen = stage.reopen()
        not_inherited = "requested.inherited IS NULL AND" if "AS inherited" in stage.requests() else ""
        again = f"OR (last.code IS NOT NULL AND ({reopen}))" if reopen else ""
        return self.sql(
            f"""WITH requested AS ({stage.requests()}),
            last AS (
                SELECT *, {is_final_sql()} AS final FROM {parts_sql(part_files(folder))}
                QUALIFY row_number() OVER (PARTITION BY key, input ORDER BY finished_at DESC, attempt DESC) = 1
            )
            SELECT requested.*, coalesce(last.attempt, 0) AS attempts
            FROM requested LEFT JOIN last ON requested.key = last.key AND requested.input = last.input
            WHERE {not_inherited} (last.key IS NULL OR NOT last.final {again})
            ORDER BY requested.key"""
        )
