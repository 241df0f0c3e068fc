"""How things are shown: lines, tables, documents, progress, colours, the wording of numbers."""
