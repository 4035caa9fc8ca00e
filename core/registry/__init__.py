"""Adapters and base models: manifests, digests, lineage, verification."""
