//! Safe wrappers over the Linux system calls bake needs
