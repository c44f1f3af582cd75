//! What udx must do, in virtual time.

mod defects;
mod follow;
mod hostile;
mod loss;
mod memory;
mod mtu;
mod relay;
mod remote;
mod rules;
mod speed;
mod vectors;
mod world;
