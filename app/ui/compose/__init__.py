"""The screens of composing: the editor, answers side by side, versions, gates, swaps, memory, export."""
