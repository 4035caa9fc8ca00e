"""The REST API: one router per domain word, one gate in front of all of them."""
