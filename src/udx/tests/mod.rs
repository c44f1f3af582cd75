//! What udx must do, in virtual time.

mod loss;
mod relay;
mod rules;
mod speed;
mod vectors;
mod world;
