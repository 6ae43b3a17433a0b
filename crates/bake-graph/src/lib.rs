//! The build definition: vertices, ops, edges and definition digests
