//! Performs build operations: exec, file copy, image, local, http and git sources
