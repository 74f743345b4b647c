//! Shapes and checks shared by the benches.
