//! DAGs: their order, and what is none.

use tidemill_model::dag::{Cycle, Dag};

use crate::house::{Sketch, dag_of, head, sketches};

#[test]
fn cycles_are_named_and_long_chains_are_none() {
    let cycle = |text: &str| {
        let sketches = sketches(text);
        let tasks: Vec<_> = dag_tasks(&sketches);
        Dag::new(head("d", b"cyclic"), tasks).map(|_| ()).map_err(|Cycle(names)| {
            names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        })
    };
    assert_eq!(cycle("a; b < a, d; c < b; d < c; e < d"), Err("b c d".to_owned()));
    assert_eq!(cycle("x; a < a"), Err("a".to_owned()));
    assert_eq!(cycle("a < b; b < a; c < d; d < c"), Err("a b".to_owned()));
    let chain = |n: usize| -> Vec<Sketch> {
        (0..n)
            .map(|i| Sketch {
                name: format!("t{i}"),
                upstream: i.checked_sub(1).into_iter().collect(),
                ..Sketch::default()
            })
            .collect()
    };
    let mut long = chain(100_000);
    let whole = dag_of("d", &long);
    assert_eq!(whole.order().len(), 100_000);
    // The whole chain is one cycle.
    long[0].upstream = vec![99_999];
    let Err(Cycle(names)) = Dag::new(head("d", b"cyclic"), dag_tasks(&long)) else {
        panic!("no cycle")
    };
    assert_eq!((names.len(), names[0].as_str()), (100_000, "t0"));
}

fn dag_tasks(sketches: &[Sketch]) -> Vec<tidemill_model::Task> {
    sketches.iter().map(Sketch::task).collect()
}
