"""What it costs to hand an array from one deployment to another: through the object store, or over gRPC."""
