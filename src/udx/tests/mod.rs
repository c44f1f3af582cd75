//! What udx must do, in virtual time.

mod loss;
mod rules;
mod speed;
mod vectors;
mod world;
