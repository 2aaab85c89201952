"""What is known of a clip without listening, as words for captions and prompts."""
