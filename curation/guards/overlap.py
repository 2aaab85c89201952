"""How far lists share clips: by video, and in time. Of the lists of a dataset and of its registered guards."""

import pyarrow as pa

from curation.aliases import known_as_sql
from curation.dataset import Dataset
from curation.guards import guard

_OVERLAP = f"""
WITH sources AS (
    SELECT video_key, source_key AS source, is_file FROM ({known_as_sql()})
    UNION ALL
    SELECT video_key, 'file ' || file_name, true FROM ({guard.FILE_NAMES})
),
spans AS (
    SELECT DISTINCT listed.list AS name, listed.key AS span, sources.source,
        CASE WHEN NOT sources.is_file THEN clips.start_ms END AS start_ms,
        CASE WHEN NOT sources.is_file THEN clips.start_ms + clips.duration_ms END AS end_ms
    FROM annotations AS listed JOIN clips ON listed.grain = 'clip' AND clips.clip_id = listed.key
    JOIN sources ON sources.video_key = clips.video_key
    UNION
    SELECT listed.list, listed.key, sources.source, NULL, NULL
    FROM annotations AS listed JOIN sources ON listed.grain = 'video' AND sources.video_key = listed.key
    UNION
    SELECT guard, concat_ws(' ', video_key, file_name, start_ms, duration_ms),
        unnest([video_key, 'file ' || file_name]), start_ms, start_ms + duration_ms
    FROM registered
),
shared AS (
    SELECT a.name AS name, a.span AS span, b.name AS other,
        bool_or(a.start_ms IS NULL OR b.start_ms IS NULL OR a.start_ms < b.end_ms AND b.start_ms < a.end_ms) AS in_time
    FROM spans AS a JOIN spans AS b ON a.source = b.source AND a.name <> b.name
    GROUP BY a.name, a.span, b.name
),
counted AS (SELECT name, count(DISTINCT span) AS spans FROM spans GROUP BY name)
SELECT shared.name AS list, any_value(counted.spans) AS spans, shared.other, count(*) AS by_video,
    count(*) FILTER (in_time) AS in_time
FROM shared JOIN counted USING (name) GROUP BY shared.name, shared.other ORDER BY shared.name, shared.other"""


def overlap_table(dataset: Dataset) -> pa.Table:
    """Which lists and guards of a dataset share what, every pair that shares anything in both directions.

    A row of a list without times is a whole video, and overlaps every span of it. Captions of one clip count once.

    Returns:
        `list`, `spans` (different ones it has), `other`, `by_video` (how many of them lie in a video that the other
        names) and `in_time` (how many share time with a span of the other), sorted by name.
    """
    registered = guard.read(dataset, guard.guard_names(dataset))
    return dataset.sql(_OVERLAP, registered=registered)
