//! Lint rules, fixes and suppressions over the Dockerfile syntax tree
