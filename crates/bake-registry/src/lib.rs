//! Client of the OCI distribution API: authentication, pull, push, mount, retry, resume
