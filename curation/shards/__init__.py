"""Shards: the clips of a selection as tar files that any WebDataset reader opens, and as random-access files for ours.

shards/<generation>/000000.tar      <clip_id>.flac, <clip_id>.mp4 (with a picture), <clip_id>.json, the next clip's
shards/<generation>/000000.arrow    one row a clip: its key, where each member lies in the tar, its JSON text
shards/<generation>/index.json      names, counts, sums; written last: without it there is no generation

A later generation names the shards of an earlier one that it takes over by relative path (`../first/000000`). After
`forget` what is left of a shard is called by its number and a hash of what it holds (`000000-1a2b3c4d`).
"""
