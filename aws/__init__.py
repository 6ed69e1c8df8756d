"""The only importer of boto3: the S3 store, S3 sources and listings."""
