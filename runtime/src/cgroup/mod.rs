//! Where a container runs and what it may use: cgroups v1, v2 and hybrid behind one interface.
