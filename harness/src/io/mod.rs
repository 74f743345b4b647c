//! Files and streams, independent of networks and experiments. Every other module may use these.

pub mod array;
pub mod atomic;
pub mod bounds;
pub mod busy;
pub mod claim;
pub mod cores;
pub mod ending;
pub mod export;
pub mod file;
pub mod folder;
pub mod hash;
pub mod idx;
pub mod json;
pub mod lock;
pub mod machine;
pub mod map;
pub mod output;
pub mod pair;
pub mod progress;
pub mod show;
pub mod tensors;
