"""What lists say of a clip: of the clip itself, and of its video, which is said of each of its clips."""

ANNOTATED = """
SELECT annotations.key AS clip_id, annotations.* FROM annotations WHERE annotations.grain = 'clip'
UNION ALL
SELECT clips.clip_id, annotations.*
FROM annotations JOIN clips ON clips.video_key = annotations.key WHERE annotations.grain = 'video'"""
"""SQL over a dataset's views: one row per clip and annotation, `clip_id` and the columns of `annotations`."""

HUMAN_CAPTIONS = f"""
SELECT clip_id, unnest(captions) AS text, 'human:' || list AS source FROM ({ANNOTATED}) WHERE len(captions) > 0"""
"""The captions by people: what a selection takes unless told otherwise."""

SPOKEN = f"""
SELECT clip_id, arg_min(transcript, (grain, list, line)) AS transcript
FROM ({ANNOTATED})
WHERE transcript IS NOT NULL AND (grain = 'clip' OR key IN (
    SELECT video_key FROM clips GROUP BY video_key HAVING count(*) = 1))
GROUP BY clip_id"""
"""What is said in a clip, by the first list that has it; of a video, only of its single clip."""
