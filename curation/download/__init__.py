"""Getting media: where they come from, which addresses may be asked, one worker's session, and what failures mean.

    source      what `--from` says
    session     one worker's downloads: where a request goes
    youtube     videos by their id
    section     one section of a long video of YouTube
    sectioner   the child process that fetches it
    web         media files by their address: mirrors and rows with a url
    local       files that are already on this machine
    addresses   which URLs and addresses may be asked
    transfer    the HTTP requests of one download, held to these rules
    reasons     yt-dlp's errors as codes

Nothing here decides what to fetch or how often to try: that is `curation.fetch` and the runner.
"""
