"""Captioners behind a server that speaks the chat protocol of OpenAI."""
