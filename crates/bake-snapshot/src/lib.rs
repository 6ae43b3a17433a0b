//! Layer stacks to mountable root file systems, and upper directories to layers
