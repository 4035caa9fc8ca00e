"""What people think of answers: pairs of which one was preferred."""
