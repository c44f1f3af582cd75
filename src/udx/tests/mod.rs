//! What udx must do, in virtual time.

mod loss;
mod world;
