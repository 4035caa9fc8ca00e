"""What requests did: recorded as they end, added up by minute, hour and day, and read with their intervals."""
