"""What is wrong or suspicious in a retailer's file, each with a rule id, a sentence and rows."""
