"""What objects are: resources, schemas, defaults, patches, fields and who manages them."""
