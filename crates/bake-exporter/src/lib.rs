//! Writes images to the store, a registry, an OCI layout, a docker archive, a directory or a tar file
