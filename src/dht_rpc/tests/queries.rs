//! Queries: they find the closest nodes, they end, and they write.

use super::world::World;
use crate::base::{Addr, Entropy, Key, Seeded, SocketId, Span, Tag, Time, limits};
use crate::dht_rpc::query::{Asker, Step, Walk};
use crate::dht_rpc::table::distance;
use crate::dht_rpc::{Config, Event, Lost, QueryError, node_id};
use crate::wire;
use crate::wire::dht_rpc::{
    AddressValue, DOWN_HINT, FIND_NODE, OK, Query, Reply, RequestMessage, Respond, UNKNOWN_COMMAND,
};

const STORE: u64 = 7;

fn persistent(bootstrap: Addr) -> Config {
    Config { bootstrap: vec![bootstrap], ephemeral: Some(false), firewalled: false, ..Config::default() }
}

/// A network of a bootstrapper and `more` persistent nodes that answer everything.
fn network(seed: u64, more: usize) -> World {
    let mut world = World::new(seed);
    let bootstrap = world.bootstrapper();
    world.hosts[0].echo = true;
    for _ in 0..more {
        let host = world.add(persistent(bootstrap));
        world.hosts[host].echo = true;
        world.bootstrapped(host);
    }
    world
}

fn server(world: &World, host: usize) -> Addr {
    world.addr(host, SocketId::SERVER)
}

/// All that are up but `asker`, closest to `target` first.
fn by_distance(world: &World, asker: usize, target: &Key) -> Vec<Addr> {
    let mut all: Vec<Addr> = (0..world.hosts.len())
        .filter(|host| *host != asker && world.hosts[*host].up)
        .map(|host| server(world, host))
        .collect();
    all.sort_by_key(|addr| distance(&node_id(*addr), target));
    all
}

struct Done {
    result: Result<(), QueryError>,
    closest: Vec<Addr>,
    took: Span,
}

fn query(world: &mut World, host: usize, query: Query) -> Done {
    let begin = world.now;
    world.with(host, |dht, cx| dht.query(cx, Tag(1), query)).expect("room");
    let done = world.until(host, Span::from_secs(300), |event| matches!(event, Event::QueryDone { .. }));
    let Event::QueryDone { result, closest, .. } = done else { unreachable!("waited for it") };
    let closest = closest.iter().map(|reply| reply.from).collect();
    Done { result, closest, took: world.now.since(begin) }
}

/// pitfalls 5.6: in a network of 200, the twenty that are closest by true distance. proves dht_rpc.61, dht_rpc.64
#[test]
fn queries_find_the_true_closest() {
    let mut world = network(1, 199);
    let mut entropy = Seeded::new(2);
    for _ in 0..30 {
        let asker = entropy.below(200) as usize;
        let target = entropy.bytes32();
        let done = query(&mut world, asker, Query::new(target, STORE, None));
        let expected = by_distance(&world, asker, &target);
        assert_eq!(done.result, Ok(()));
        assert_eq!(done.closest, expected[..20]);
    }
}

/// How many of those found are among the twenty closest.
fn agreeing(found: &[Addr], all: &[Addr]) -> usize {
    assert_eq!(found.len(), 20);
    found.iter().filter(|addr| all[..20].contains(addr)).count()
}

/// A fifth of 200 nodes vanishes: queries still find the closest of the rest, except one that nobody alive named or
/// that was late.
#[test]
fn queries_find_the_closest_among_dead_nodes() {
    let mut world = network(3, 199);
    let mut entropy = Seeded::new(4);
    for host in (3..200).step_by(5) {
        world.hosts[host].up = false;
    }
    for round in 0..10 {
        let asker = if entropy.chance(500) { 0 } else { 1 };
        let target = entropy.bytes32();
        let done = query(&mut world, asker, Query::new(target, STORE, None));
        assert!(agreeing(&done.closest, &by_distance(&world, asker, &target)) >= 18, "round {round}");
    }
}

/// pitfalls 5.4: one dead node among many costs about a second, not six. proves dht_rpc.69
#[test]
fn a_dead_node_costs_a_second() {
    let mut world = network(5, 60);
    let target = [9; 32];
    let dead = by_distance(&world, 0, &target)[0];
    let host = (0..61).find(|host| server(&world, *host) == dead).expect("one of them");
    world.hosts[host].up = false;
    let done = query(&mut world, 0, Query::new(target, STORE, None));
    assert_eq!(done.closest, by_distance(&world, 0, &target)[..20]);
    assert!(done.took < Span::from_millis(1500), "{}", done.took);
}

#[test]
fn loss_slows_queries_but_does_not_break_them() {
    let mut world = network(6, 60);
    world.loss = 200;
    for n in 0..10 {
        let target = [n * 25; 32];
        let done = query(&mut world, 0, Query::new(target, STORE, None));
        // those who are late are not waited for once twenty others answered (dht_rpc.69)
        assert!(agreeing(&done.closest, &by_distance(&world, 0, &target)) >= 12);
    }
}

/// pitfalls 3.15 and 5.3: an error of the first node does not end a query, its closer nodes are used, and it is no
/// result. proves dht_rpc.65, dht_rpc.66 and dht_rpc.67
#[test]
fn errors_are_passed_through() {
    let mut world = network(7, 10);
    world.hosts[0].echo = false; // the bootstrapper answers by hand
    let bootstrap = server(&world, 0);
    let host = world.add(Config { bootstrap: vec![bootstrap], ..Config::default() });
    world.bootstrapped(host);
    world.with(host, |dht, _| dht.table = crate::dht_rpc::table::Table::new([0; 32]));
    world.with(host, |dht, cx| dht.query(cx, Tag(1), Query::new([3; 32], STORE, None))).expect("room");
    let asked = world.until(0, Span::from_secs(1), |event| matches!(event, Event::Request(_)));
    let Event::Request(request) = asked else { unreachable!("waited for it") };
    world.with(0, |dht, cx| dht.respond(cx, &request, Respond::error(UNKNOWN_COMMAND)));
    let done = world.until(host, Span::from_secs(30), |event| matches!(event, Event::QueryDone { .. }));
    let Event::QueryDone { result, closest, .. } = done else { unreachable!("waited for it") };
    assert_eq!(result, Ok(()));
    assert_eq!(closest.len(), 10);
    assert!(closest.iter().all(|reply| reply.from != bootstrap && reply.error == OK && reply.id.is_some()));
    let told = world.count(host, |event| matches!(event, Event::QueryReply { .. }));
    assert_eq!(told, 10);
    assert_eq!(
        world.count(host, |event| matches!(event, Event::QueryReply { reply, .. } if reply.error != OK)),
        0
    );
}

/// pitfalls 5.1: nobody to write to is an error, nobody who accepts too, one who accepts is enough.
/// proves dht_rpc.73, dht_rpc.74 and dht_rpc.75
#[test]
fn writing_without_success_is_an_error() {
    let commit = Query { commit: true, ..Query::new([3; 32], STORE, Some(vec![5])) };
    let mut world = World::new(8);
    world.bootstrapper();
    world.bootstrapped(0);
    assert_eq!(query(&mut world, 0, commit.clone()).result, Err(QueryError::TooFewNodes));

    for accepting in [0, 1, 4] {
        let mut world = network(8, 4);
        for host in 0..5 {
            world.hosts[host].echo = false;
        }
        world.with(4, |dht, cx| dht.query(cx, Tag(1), commit.clone())).expect("room");
        let mut written = 0;
        let done = loop {
            world.run(Span::from_millis(10));
            for host in 0..4 {
                while let Some(event) = world.hosts[host].events.pop_front() {
                    let Event::Request(request) = event else { continue };
                    let respond = match request.token {
                        Some(_) => {
                            written += 1;
                            assert_eq!(request.value, Some(vec![5]));
                            if host < accepting { Respond::value(None) } else { Respond::error(77) }
                        }
                        None => Respond::value(None),
                    };
                    world.with(host, |dht, cx| dht.respond(cx, &request, respond));
                }
            }
            if world.count(4, |event| matches!(event, Event::QueryDone { .. })) > 0 {
                break world.hosts[4].events.pop_back();
            }
        };
        assert_eq!(written, 4);
        let Some(Event::QueryDone { result, closest, .. }) = done else { panic!("the end comes last") };
        assert_eq!(result, if accepting == 0 { Err(QueryError::NotCommitted) } else { Ok(()) });
        assert_eq!(closest.len(), 4);
        // pitfalls 5.2: each one's answer is told
        let told = world.count(4, |event| matches!(event, Event::Committed { result: Ok(_), .. }));
        let refused = world.count(
            4,
            |event| matches!(event, Event::Committed { result: Ok(reply), .. } if reply.error == 77),
        );
        assert_eq!((told, refused), (4, 4 - accepting));
    }
}

#[test]
fn a_node_without_a_token_is_not_written_to() {
    let mut world = network(9, 2);
    for host in 0..3 {
        world.hosts[host].echo = false;
    }
    let commit = Query { commit: true, ..Query::new([3; 32], STORE, None) };
    world.with(2, |dht, cx| dht.query(cx, Tag(1), commit)).expect("room");
    for _ in 0..20 {
        world.run(Span::from_millis(10));
        for host in 0..2 {
            while let Some(event) = world.hosts[host].events.pop_front() {
                let Event::Request(request) = event else { continue };
                let respond = Respond { token: false, ..Respond::value(None) };
                world.with(host, |dht, cx| dht.respond(cx, &request, respond));
            }
        }
    }
    let lost = |event: &Event| matches!(event, Event::Committed { result: Err(Lost::NoToken), .. });
    assert_eq!(world.count(2, lost), 2);
    let failed =
        |event: &Event| matches!(event, Event::QueryDone { result: Err(QueryError::NotCommitted), .. });
    assert_eq!(world.count(2, failed), 1);
}

/// pitfalls 5.5: those who referred to a dead node hear of it, and look. proves dht_rpc.71
#[test]
fn referrers_hear_of_dead_nodes() {
    let mut world = network(10, 8);
    let dead = server(&world, 3);
    world.hosts[3].up = false;
    let bootstrap = server(&world, 0);
    let host = world.add(Config { bootstrap: vec![bootstrap], ..Config::default() });
    world.hosts[host].record = true;
    query(&mut world, host, Query::new(node_id(dead), STORE, None));
    world.run(Span::from_secs(20));
    let hints: Vec<Addr> = world.hosts[host]
        .sent
        .iter()
        .filter_map(|(_, _, to, bytes)| {
            wire::decode::<RequestMessage>(bytes).ok().map(|message| (*to, message))
        })
        .filter(|(_, message)| message.internal && message.command == DOWN_HINT)
        .inspect(|(_, message)| {
            let value = message.value.as_deref().unwrap_or(&[]);
            assert_eq!(wire::decode(value), Ok(AddressValue(dead)));
        })
        .map(|(to, _)| to)
        .collect();
    assert!(!hints.is_empty());
    for n in [0, 1, 2, 4, 5, 6, 7, 8] {
        if hints.contains(&server(&world, n)) {
            assert!(!world.hosts[n].dht.nodes(99).contains(&dead), "host {n} looked");
        }
    }
    // what merely errs is not down
    assert!(!hints.contains(&dead));
}

/// Twenty that name each other agree. Where fifteen of them name each other only, and the five others everybody,
/// somebody lies.
// proves dht_rpc.99
#[test]
fn nodes_that_hide_others_are_seen_to_lie() {
    let target = [0; 32];
    let mut all: Vec<Addr> = (0..200).map(|n| Addr::new([10, 1, 0, n], 9)).collect();
    all.sort_by_key(|addr| distance(&node_id(*addr), &target));
    let (near, far) = all.split_at(20);
    for lie in [false, true] {
        let mut walk = Walk::new(Asker::User(Tag(1)), Query::new(target, STORE, None), 10);
        for (n, &from) in near.iter().enumerate() {
            // Those that are hidden stand among those that hide them.
            let honest = |n: usize| !lie || n.is_multiple_of(4);
            let named = |m: &usize| *m != n && (honest(n) || !honest(*m));
            let mut closer: Vec<Addr> = (0..20).filter(named).map(|m| near[m]).collect();
            closer.extend(far.iter().take(20 - closer.len()));
            let reply = Reply {
                from,
                to: Addr::loopback(1),
                socket: SocketId::SERVER,
                id: Some(node_id(from)),
                token: None,
                closer,
                error: OK,
                value: None,
                rtt: Span::ZERO,
            };
            walk.answered(&reply, |_| false);
        }
        assert_eq!(walk.shows_lies(), lie);
    }
}

/// pitfalls 3.12: at most fifty hints in five seconds. proves dht_rpc.72
#[test]
fn down_hints_are_limited() {
    let mut world = network(11, 1);
    let own = server(&world, 1);
    world.hosts[0].echo = false;
    let mut entropy = Seeded::new(1);
    let mut hinted = |world: &mut World, config_hints: Option<u32>| {
        world.with(0, |dht, _| {
            dht.config.down_hints = config_hints;
            dht.hints = 0;
        });
        let before = world.hosts[0].dht.stats().down_hints;
        for round in 0..4 {
            let target = entropy.bytes32();
            let mut walk = Query::new(target, STORE, None);
            walk.sends = 1;
            walk.start = vec![own];
            let tag = Tag(100 + round);
            world.with(0, |dht, cx| dht.query(cx, tag, walk)).expect("room");
        }
        world.hosts[1].echo = false;
        for _ in 0..100 {
            world.run(Span::from_millis(40));
            while let Some(event) = world.hosts[1].events.pop_front() {
                let Event::Request(request) = event else { continue };
                let fakes = (0..20)
                    .map(|_| Addr::new([10, 66, entropy.u32() as u8, entropy.u32() as u8], 9))
                    .collect();
                forge(world, 1, &request, fakes);
            }
        }
        world.with(0, |dht, _| dht.hints = 0);
        world.hosts[0].dht.stats().down_hints - before
    };
    assert!(hinted(&mut world, Some(50)) <= 100, "two periods at most");
    assert!(hinted(&mut world, Some(0)) == 0);
    assert!(hinted(&mut world, None) > 60);
}

/// Answers with closer nodes of our choice.
fn forge(world: &mut World, host: usize, request: &crate::wire::dht_rpc::Request, closer: Vec<Addr>) {
    let from = world.addr(host, SocketId::SERVER);
    let message = crate::wire::dht_rpc::ResponseMessage {
        tid: request.tid,
        to: request.from,
        id: Some(node_id(from)),
        closer,
        ..Default::default()
    };
    let asker = (0..world.hosts.len()).find(|n| world.hosts[*n].ip == request.from.ip).expect("one of them");
    let socket =
        if world.addr(asker, SocketId::SERVER) == request.from { SocketId::SERVER } else { SocketId::CLIENT };
    world.deliver(asker, socket, from, &wire::encode(&message));
}

/// pitfalls 5.7: nodes that always know of twenty more end within a bound. proves dht_rpc.91
#[test]
fn an_endless_supply_of_fake_nodes_ends() {
    let mut entropy = Seeded::new(3);
    let target = [0; 32];
    let mut walk = Walk::new(Asker::User(Tag(1)), Query::new(target, STORE, None), 10);
    walk.from_table = true;
    walk.offer_known(Addr::new([1, 1, 1, 1], 1), &[1; 32]);
    let mut steps = 0;
    // Each claims to be closer than all before it, as nobody can check without asking.
    let end = loop {
        steps += 1;
        match walk.step() {
            Step::Visit(from) => {
                let closer = (0..1000)
                    .map(|_| Addr::new(entropy.u32().to_le_bytes(), 1 + entropy.u32() as u16 / 2))
                    .collect();
                let reply = Reply {
                    from,
                    to: from,
                    socket: SocketId::SERVER,
                    id: Some(node_id(from)),
                    token: None,
                    closer,
                    error: OK,
                    value: None,
                    rtt: Span::ZERO,
                };
                walk.answered(&reply, |_| false);
            }
            end => break end,
        }
    };
    assert_eq!(end, Step::Flush);
    assert!(walk.visits() <= limits::DHT_QUERY_VISITS_MAX && steps <= limits::DHT_QUERY_VISITS_MAX + 1);
    // And those that never answer:
    let mut walk = Walk::new(Asker::User(Tag(1)), Query::new(target, STORE, None), 10);
    walk.from_table = true;
    for n in 0..10_000_u32 {
        let addr = Addr::new(n.to_le_bytes(), 1);
        walk.offer_known(addr, &node_id(addr));
    }
    while let Step::Visit(addr) = walk.step() {
        walk.lost(addr);
    }
    assert!(walk.visits() <= limits::DHT_QUERY_VISITS_MAX);
}

fn commands_to(world: &World, host: usize, to: Addr) -> usize {
    world.hosts[host].sent.iter().filter(|(_, _, at, _)| *at == to).count()
}

/// Given nodes are asked in their order. proves dht_rpc.63 and dht_rpc.68
#[test]
fn given_nodes_come_first_and_three_at_a_time() {
    let mut world = network(12, 30);
    let start: Vec<Addr> = (1..25).map(|host| server(&world, host)).collect();
    let walk = Query { start: start.clone(), ..Query::new([1; 32], STORE, None) };
    world.with(0, |dht, cx| dht.query(cx, Tag(1), walk)).expect("room");
    let first: Vec<Addr> = world.sent(0).iter().map(|(_, to, _)| *to).collect();
    assert_eq!(first, start[..10]);
    world.run(Span::from_secs(5));
    // once that many are out, only three more at a time until somebody answered
    let mut walk = Walk::new(
        Asker::User(Tag(1)),
        Query { start, concurrency: Some(5), ..Query::new([1; 32], STORE, None) },
        10,
    );
    let mut visits = 0;
    while let Step::Visit(_) = walk.step() {
        visits += 1;
        if visits == 24 {
            break;
        }
    }
    assert_eq!(visits, 24, "without flights to count, all");
}

/// proves dht_rpc.70
#[test]
fn useless_given_nodes_are_replaced_by_the_table() {
    let mut world = network(13, 30);
    let start: Vec<Addr> = (0..20).map(|n| Addr::new([10, 99, 0, n], 1)).collect();
    let target = [1; 32];
    let walk = Query { start, sends: 1, ..Query::new(target, STORE, None) };
    let done = query(&mut world, 0, walk);
    assert_eq!(done.closest, by_distance(&world, 0, &target)[..20]);
}

/// proves dht_rpc.62
#[test]
fn few_given_nodes_are_joined_by_the_table() {
    let mut world = network(14, 30);
    let dead = Addr::new([10, 99, 0, 1], 1);
    let target = [1; 32];
    let walk = Query { start: vec![dead], sends: 2, ..Query::new(target, STORE, None) };
    let done = query(&mut world, 0, walk);
    assert_eq!(done.closest, by_distance(&world, 0, &target)[..20]);
    assert!(done.took < Span::from_secs(3));
}

#[test]
fn only_the_given_nodes_are_asked_if_that_is_wanted() {
    let mut world = network(15, 30);
    let start: Vec<Addr> = (1..4).map(|host| server(&world, host)).collect();
    let mut expected = start.clone();
    expected.sort_by_key(|addr| distance(&node_id(*addr), &[1; 32]));
    world.hosts[0].record = true;
    let walk = Query { start: start.clone(), only_start: true, ..Query::new([1; 32], STORE, None) };
    let done = query(&mut world, 0, walk);
    assert_eq!(done.closest, expected);
    let asked: usize = start.iter().map(|addr| commands_to(&world, 0, *addr)).sum();
    assert_eq!(asked, world.hosts[0].sent.iter().filter(|(_, _, _, bytes)| bytes[0] == 0x03).count());
}

#[test]
fn a_cancelled_query_ends_at_once() {
    let mut world = network(16, 5);
    world.delay = Span::from_millis(500);
    world.with(0, |dht, cx| dht.query(cx, Tag(1), Query::new([1; 32], STORE, None))).expect("room");
    world.with(0, |dht, cx| dht.cancel_query(cx, Tag(1)));
    world.with(0, |dht, cx| dht.cancel_query(cx, Tag(1)));
    world.settle();
    let ends =
        world.count(0, |event| matches!(event, Event::QueryDone { result: Err(QueryError::Cancelled), .. }));
    assert_eq!(ends, 1);
    assert_eq!(world.hosts[0].dht.stats().active, 0);
}

/// The node itself can be the only one.
#[test]
fn a_query_of_a_lonely_node_ends_at_once() {
    let mut world = World::new(17);
    world.bootstrapper();
    world.bootstrapped(0);
    let find = Query { internal: true, ..Query::new([1; 32], FIND_NODE, None) };
    let done = query(&mut world, 0, find);
    assert_eq!((done.result, done.closest, done.took), (Ok(()), vec![], Span::ZERO));
}

/// pitfalls 5.8: nobody is counted twice, however many name them; and never ourselves.
#[test]
fn everybody_answers_once() {
    let mut world = network(18, 20);
    query(&mut world, 0, Query::new([1; 32], STORE, None));
    let mut from: Vec<Addr> = world.hosts[0]
        .events
        .iter()
        .filter_map(|event| match event {
            Event::QueryReply { reply, .. } => Some(reply.from),
            _ => None,
        })
        .collect();
    from.sort();
    let mut once = from.clone();
    once.dedup();
    assert_eq!(from, once);
    assert!(!from.contains(&server(&world, 0)));
    assert!(world.now > Time::ZERO);
}
