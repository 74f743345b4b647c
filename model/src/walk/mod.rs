//! The walk over layers and time: forwards, and back again for gradients.

pub(crate) mod backward;
pub(crate) mod evaluate;
pub(crate) mod forward;
pub(crate) mod health;
