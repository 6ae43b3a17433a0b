//! Test support: in-process registry with fault injection, tiny base images, fake worker, case runner
