//! Lowers a Dockerfile syntax tree to a build graph and an image config
