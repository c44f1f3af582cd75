//! Nothing is lost, whatever the links do.

use super::world::{Link, World, pattern};
use crate::base::{Entropy, Seeded, Span};
use crate::udx::Why;

fn ms(n: u64) -> Span {
    Span::from_millis(n)
}

/// Links of all kinds: every byte arrives in order, both sides close cleanly, and the memory bounds hold.
#[test]
fn all_bytes_arrive_over_any_link() {
    for seed in 0..300 {
        let mut draw = Seeded::new(seed).fork("options");
        let mut link = Link::new(Span::from_micros(draw.below(100_000)));
        link.jitter = Span::from_micros(draw.below(30_000));
        link.loss_permille = draw.below(250);
        link.copy_permille = draw.below(100);
        if draw.chance(400) {
            link.rate = 50_000 + draw.below(10_000_000);
            link.queue = 20_000 + draw.below(200_000) as usize;
        }
        let first = if draw.chance(300) { 0xffff_fff0 } else { 0 };
        let mut world = World::connected_at(seed, link.clone(), first);
        let sizes = [draw.below(400_000) as usize, draw.below(100_000) as usize];
        let sent = sizes.map(|size| pattern(size, seed));
        for side in 0..2 {
            world.feed(side, &sent[side], true);
        }
        world.run_to_close(Span::from_secs(3600));
        for side in 0..2 {
            let seen = &world.seen[side];
            let stats = world.udx[1 - side].stats(world.streams[1 - side]);
            assert!(
                seen.data == sent[1 - side],
                "seed {seed} {link:?}: {} of {}, {:?} {stats:?}",
                seen.data.len(),
                sent[1 - side].len(),
                seen.closed
            );
            assert!(seen.ended);
            assert_eq!(seen.closed, Some(Why::Ended), "seed {seed} {link:?}");
        }
        assert!(world.run_to_rest(Span::from_secs(120)), "seed {seed}: timers left over");
        assert!(world.udx.iter().all(|udx| udx.is_empty()));
        let _ = ms(0);
    }
}
