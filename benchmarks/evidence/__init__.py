"""What small models learn: each file trains one system by the project's own verbs and says how well it follows.

These are no measurements of speed and take up to an hour each; `python -m benchmarks` leaves them out. Run one as
`python -m benchmarks.evidence.audiox --out FOLDER`. Nothing here is installed or imported by foundsound.
"""
