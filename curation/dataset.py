"""A dataset on disk: a folder of Parquet tables and content-addressed media, and the SQL views over it.

`docs/format.md` draws the folder. Rows are appended in whole parts (`curation/tables.py`); the state of everything is
a query, here in DuckDB, though pandas or any other reader of Parquet does as well.
"""

import json
import os
import re
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import duckdb
import pyarrow as pa

from curation.errors import ArgumentError, DatasetError, StoppedError
from curation.facts import FactTable
from curation.lock import readers_lock, shared_lock
from curation.media import MediaStore
from curation.schema import SCHEMA_VERSION, TABLES
from curation.stage import Stage
from curation.storage import Root, root_of
from curation.tables import SCHEMA_PART, append_part, rows_to_table, write_bytes, write_parquet
from curation.views import TABLE_RULES, answers_sql, is_final_sql, parts_sql, quoted, stage_sql, table_sql

__all__ = ["Dataset", "is_final_sql", "parts_sql", "quoted"]

CONFIG_FILE = "dataset.json"

MEMORY_LIMIT_MB = 2_500
"""What a query may hold in memory before it spills to disk, MB. Source: ours; with Python and the result of a query
over 6,000,000 clips it stays below 4 GB."""

MAX_THREADS = 16
"""Threads of a query. Source: ours; each wants about 125 MB (DuckDB's manual), and the limit above is for all."""

_READ_AGAIN = 2
"""Times that a query is begun anew when a part was deleted between listing and reading, where there are no locks."""


class Dataset:
    """A dataset folder that is open for queries and for appending.

    Args:
        path: The folder; it must hold `dataset.json`.

    Raises:
        ArgumentError: There is no dataset in the folder.
        DatasetError: The dataset is damaged, or a newer version of foundsound wrote it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser().resolve()
        file = self.path / CONFIG_FILE
        if not file.is_file():
            raise ArgumentError(
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
            write_parquet(folder / name / SCHEMA_PART, schema.empty_table())
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
        return MediaStore(self.root("media"))

    def root(self, kind: str) -> Root:
        """Where `media`, `shards`, `vectors` or `latents` lie: a folder, or a prefix of an object store."""
        return root_of(self.path, self.config["roots"], kind)

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

    def append(self, name: str, rows: Iterable[Mapping[str, Any]] | pa.Table) -> None:
        """Commit rows of the table `videos`, `clips`, `annotations` or `rejects` as one part."""
        schema = TABLES[name]
        table = rows.select(schema.names).cast(schema) if isinstance(rows, pa.Table) else rows_to_table(rows, schema)
        append_part(self.path / name, table)

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

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Nothing that a listing of parts names is deleted while this is held; for SQL that is made beforehand."""
        lock = shared_lock(readers_lock(self.path))
        try:
            yield
        finally:
            if lock is not None:
                os.close(lock)

    def _create_views(self, connection: duckdb.DuckDBPyConnection, query: str | None) -> None:
        """Make the views that a query names, and those that they read; all of them for None."""
        wanted = set(TABLE_RULES) if query is None else {name for name in TABLE_RULES if _names(query, name)}
        needed = wanted.union(*(TABLE_RULES[name].needs for name in wanted))
        lists = [source["list"] for source in self.config["sources"]]
        for name in TABLE_RULES:  # in the order in which they read each other
            if name in needed:
                connection.execute(f'CREATE OR REPLACE VIEW "{name}" AS {table_sql(self.path, name, lists)}')
        for stage in self.stages():
            if query is None or _names(query, stage):
                connection.execute(f'CREATE OR REPLACE VIEW "{stage}" AS {stage_sql(self.current_facts(stage))}')

    def connect(self, query: str | None = None) -> duckdb.DuckDBPyConnection:
        """An in-memory DuckDB connection with a view for every table and every stage that has run.

        While it is open no part is deleted that its views read.

        Args:
            query: SQL; only the views whose names it holds are made. A view of many parts takes seconds.
        """
        connection = duckdb.connect(":memory:")
        connection.execute("SET autoinstall_known_extensions = false; SET autoload_known_extensions = false")
        connection.execute("SET enable_progress_bar = false; SET TimeZone = 'UTC'")
        spill = quoted(str(Path(tempfile.gettempdir()) / f"foundsound-duckdb-{os.getpid()}"))
        threads = min(os.cpu_count() or 1, MAX_THREADS)
        connection.execute(
            f"SET memory_limit = '{MEMORY_LIMIT_MB}MB'; SET temp_directory = {spill}; SET threads = {threads}"
        )
        lock = shared_lock(readers_lock(self.path))
        if lock is not None:
            weakref.finalize(connection, os.close, lock)
        for _ in range(_READ_AGAIN):
            with suppress(duckdb.IOException):
                self._create_views(connection, query)
                return connection
        self._create_views(connection, query)
        return connection

    def sql(self, query: str, parameters: Iterable[Any] = (), **tables: pa.Table) -> pa.Table:
        """Run a query over the dataset's views.

        Args:
            query: SQL as DuckDB understands it.
            parameters: Values for `?` in the query.
            **tables: Arrow tables that the query may name.

        Raises:
            DatasetError: The query names a stage that has not run, or is not SQL; the text says which.
            StoppedError: A part cannot be read, or the disk has no room for what the query spills.
        """
        given = list(parameters)
        for _ in range(_READ_AGAIN):
            with suppress(duckdb.IOException):
                return self._query(query, given, tables)
        try:
            return self._query(query, given, tables)
        except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
            raise StoppedError(f"{self.path}: a query failed ({error}); make room, or run the command again") from error

    def _query(self, query: str, parameters: list[Any], tables: Mapping[str, pa.Table]) -> pa.Table:
        with self.connect(query) as connection:
            for name, rows in tables.items():
                connection.register(name, rows)
            try:
                return connection.sql(query, params=parameters).to_arrow_table()
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
        with self.reading():
            answers = answers_sql(stage.requests(), self.facts(stage).folder, stage.reopen())
            return self.sql(
                f"SELECT * EXCLUDE (inherited, code, state) FROM ({answers}) WHERE state = 'pending' ORDER BY key"
            )


def _names(query: str, view: str) -> bool:
    return re.search(rf"\b{re.escape(view)}\b", query, re.IGNORECASE) is not None
