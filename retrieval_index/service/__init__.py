"""The search service: HTTP over an index that is open. It answers with ids, never with paths, and fetches nothing."""
