"""One base model in memory, adapters beside it, answers from any number of threads."""
