//! Lays a graph out in layers, from left to right. Pure.
//!
//! Layers by longest path; edges that a longer path implies are left out, which is what keeps a
//! graph with an audit at its end readable; order within a layer by barycentres and swaps of
//! neighbours; heights by isotonic regression, so that chains are straight lines.

use std::collections::HashSet;
use std::fmt::Write;

/// Height of a box.
pub const NODE_HEIGHT: f64 = 38.0;
/// Between boxes of a layer.
const ROW_GAP: f64 = 14.0;
/// Between an edge that passes and its neighbours.
const LANE: f64 = 14.0;
/// Between layers.
const LAYER_GAP: f64 = 40.0;
/// Around everything.
const MARGIN: f64 = 8.0;
/// Rounds of ordering and of placing.
const ROUNDS: usize = 12;

/// A graph that is laid out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Layout {
    /// Width of the whole.
    pub width: f64,
    /// Height of the whole.
    pub height: f64,
    /// Each node's box, in the order of the input.
    pub boxes: Vec<Box2>,
    /// The edges that are drawn.
    pub lines: Vec<Line>,
}

/// A box: its upper left corner and its size.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Box2 {
    /// Left.
    pub x: f64,
    /// Top.
    pub y: f64,
    /// Width.
    pub width: f64,
    /// The layer, from 0.
    pub layer: usize,
}

/// An edge that is drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Where it begins.
    pub from: usize,
    /// Where it ends.
    pub to: usize,
    /// The `d` of an SVG path.
    pub path: String,
}

/// A place in a layer: a node, or where an edge passes.
#[derive(Debug, Clone)]
struct Slot {
    node: Option<usize>,
    layer: usize,
    before: Vec<usize>,
    after: Vec<usize>,
    y: f64,
}

/// Lays out nodes of these widths and edges between them. The edges must not be cyclic.
pub fn layout(widths: &[f64], edges: &[(usize, usize)]) -> Layout {
    if widths.is_empty() {
        return Layout::default();
    }
    let edges = reduce(widths.len(), edges);
    let layers = layers(widths.len(), &edges);
    let (mut slots, chains) = slots(&layers, &edges);
    let mut rows = rows(&slots);
    order(&mut rows, &slots);
    place(&rows, &mut slots);
    draw(widths, &rows, &slots, &edges, &chains)
}

/// The edges that no longer path implies, each once.
fn reduce(nodes: usize, edges: &[(usize, usize)]) -> Vec<(usize, usize)> {
    let mut after = vec![Vec::new(); nodes];
    for (from, to) in edges {
        after[*from].push(*to);
    }
    let mut kept: Vec<(usize, usize)> = edges.to_vec();
    kept.sort_unstable();
    kept.dedup();
    kept.retain(|(from, to)| {
        // Is `to` reached from another node after `from`?
        let mut seen = HashSet::new();
        let mut open: Vec<usize> = after[*from].iter().copied().filter(|next| next != to).collect();
        while let Some(node) = open.pop() {
            if node == *to {
                return false;
            }
            if seen.insert(node) {
                open.extend(&after[node]);
            }
        }
        true
    });
    kept
}

/// Longest paths, with sources pulled towards what they feed.
fn layers(nodes: usize, edges: &[(usize, usize)]) -> Vec<usize> {
    let mut layers = vec![0_usize; nodes];
    // At most `nodes` rounds, because the edges are not cyclic.
    for _ in 0..nodes {
        let mut calm = true;
        for (from, to) in edges {
            if layers[*to] <= layers[*from] {
                layers[*to] = layers[*from] + 1;
                calm = false;
            }
        }
        if calm {
            break;
        }
    }
    for node in 0..nodes {
        let fed_by_none = !edges.iter().any(|(_, to)| *to == node);
        let first = edges.iter().filter(|(from, _)| *from == node).map(|(_, to)| layers[*to]).min();
        if let (true, Some(first)) = (fed_by_none, first) {
            layers[node] = first.saturating_sub(1);
        }
    }
    layers
}

/// Places for nodes, and for edges in the layers that they pass; and each edge's chain of places.
fn slots(layers: &[usize], edges: &[(usize, usize)]) -> (Vec<Slot>, Vec<Vec<usize>>) {
    let empty = |node, layer| Slot { node, layer, before: vec![], after: vec![], y: 0.0 };
    let mut slots: Vec<Slot> =
        layers.iter().enumerate().map(|(node, layer)| empty(Some(node), *layer)).collect();
    let mut chains = Vec::with_capacity(edges.len());
    for (from, to) in edges {
        let mut chain = vec![*from];
        for layer in layers[*from] + 1..layers[*to] {
            slots.push(empty(None, layer));
            chain.push(slots.len() - 1);
        }
        chain.push(*to);
        for pair in chain.windows(2) {
            slots[pair[0]].after.push(pair[1]);
            slots[pair[1]].before.push(pair[0]);
        }
        chains.push(chain);
    }
    (slots, chains)
}

fn rows(slots: &[Slot]) -> Vec<Vec<usize>> {
    let depth = slots.iter().map(|slot| slot.layer + 1).max().unwrap_or(0);
    let mut rows = vec![Vec::new(); depth];
    for (at, slot) in slots.iter().enumerate() {
        rows[slot.layer].push(at);
    }
    rows
}

/// Orders the places of each layer so that few edges cross.
fn order(rows: &mut Vec<Vec<usize>>, slots: &[Slot]) {
    let mut best = rows.clone();
    let mut fewest = crossings(rows, slots);
    for round in 0..ROUNDS {
        if fewest == 0 {
            break;
        }
        let down = round % 2 == 0;
        let depth = rows.len();
        let sweep: Vec<usize> =
            if down { (1..depth).collect() } else { (0..depth - 1).rev().collect() };
        for layer in sweep {
            let fixed = if down { layer - 1 } else { layer + 1 };
            let at = positions(&rows[fixed], slots.len());
            by_barycentre(&mut rows[layer], |slot| {
                let near = if down { &slots[slot].before } else { &slots[slot].after };
                mean(near.iter().map(|other| at[*other] as f64))
            });
        }
        swap_neighbours(rows, slots);
        let now = crossings(rows, slots);
        if now < fewest {
            fewest = now;
            best.clone_from(rows);
        }
    }
    *rows = best;
}

/// Sorts a layer; a place without neighbours stays where it is.
fn by_barycentre(row: &mut [usize], centre: impl Fn(usize) -> Option<f64>) {
    let mut keyed: Vec<(f64, usize)> = row
        .iter()
        .enumerate()
        .map(|(at, slot)| (centre(*slot).unwrap_or(at as f64), *slot))
        .collect();
    keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (place, (_, slot)) in row.iter_mut().zip(keyed) {
        *place = slot;
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, n) = values.fold((0.0, 0), |(sum, n), value| (sum + value, n + 1));
    (n > 0).then(|| sum / f64::from(n))
}

/// Where each place stands in its row.
fn positions(row: &[usize], slots: usize) -> Vec<usize> {
    let mut at = vec![0; slots];
    for (position, slot) in row.iter().enumerate() {
        at[*slot] = position;
    }
    at
}

/// Crossings between all pairs of neighbouring layers.
fn crossings(rows: &[Vec<usize>], slots: &[Slot]) -> usize {
    rows.windows(2)
        .map(|pair| {
            let at = positions(&pair[1], slots.len());
            let mut ends = Vec::new();
            for slot in &pair[0] {
                let mut own: Vec<usize> = slots[*slot].after.iter().map(|to| at[*to]).collect();
                own.sort_unstable();
                ends.extend(own);
            }
            inversions(&mut ends)
        })
        .sum()
}

/// Pairs in the wrong order; sorts on the way.
fn inversions(values: &mut [usize]) -> usize {
    let n = values.len();
    if n < 2 {
        return 0;
    }
    let (left, right) = values.split_at_mut(n / 2);
    let mut count = inversions(left) + inversions(right);
    let mut merged = Vec::with_capacity(n);
    let (mut i, mut j) = (0, 0);
    while i < left.len() || j < right.len() {
        if j == right.len() || (i < left.len() && left[i] <= right[j]) {
            merged.push(left[i]);
            i += 1;
        } else {
            count += left.len() - i;
            merged.push(right[j]);
            j += 1;
        }
    }
    values.copy_from_slice(&merged);
    count
}

/// Swaps neighbours in a layer wherever that saves crossings.
fn swap_neighbours(rows: &mut [Vec<usize>], slots: &[Slot]) {
    for layer in 0..rows.len() {
        let before = layer.checked_sub(1).map(|l| positions(&rows[l], slots.len()));
        let after = rows.get(layer + 1).map(|row| positions(row, slots.len()));
        let row = &mut rows[layer];
        let cost = |a: usize, b: usize| {
            let side = |at: &Option<Vec<usize>>, x: &[usize], y: &[usize]| {
                at.as_ref().map_or(0, |at| {
                    x.iter().map(|x| y.iter().filter(|y| at[**y] < at[*x]).count()).sum()
                })
            };
            side(&before, &slots[a].before, &slots[b].before)
                + side(&after, &slots[a].after, &slots[b].after)
        };
        for at in 1..row.len() {
            if cost(row[at], row[at - 1]) < cost(row[at - 1], row[at]) {
                row.swap(at - 1, at);
            }
        }
    }
}

fn half(slot: &Slot) -> f64 {
    if slot.node.is_some() { NODE_HEIGHT.midpoint(ROW_GAP) } else { LANE / 2.0 }
}

/// Gives each place its height: as near to its neighbours as the order allows.
fn place(rows: &[Vec<usize>], slots: &mut [Slot]) {
    for row in rows {
        let mut y = 0.0;
        for slot in row {
            y += half(&slots[*slot]);
            slots[*slot].y = y;
            y += half(&slots[*slot]);
        }
    }
    for round in 0..ROUNDS {
        // Places with no neighbour on one side look at the other.
        let down = round % 2 == 0;
        let sweep: Vec<usize> =
            if down { (0..rows.len()).collect() } else { (0..rows.len()).rev().collect() };
        for layer in sweep {
            let wishes: Vec<(f64, f64)> = rows[layer]
                .iter()
                .map(|at| {
                    let slot = &slots[*at];
                    let (near, far) = if down {
                        (&slot.before, &slot.after)
                    } else {
                        (&slot.after, &slot.before)
                    };
                    let near = if near.is_empty() { far } else { near };
                    let wish = mean(near.iter().map(|other| slots[*other].y)).unwrap_or(slot.y);
                    // Where an edge passes it should be straight; nodes give way.
                    (wish, if slot.node.is_some() { 1.0 } else { 4.0 })
                })
                .collect();
            spread(&rows[layer], &wishes, slots);
        }
    }
}

/// The least squares solution of `wishes` under the order and the distances of a row: isotonic
/// regression by pooling neighbours.
fn spread(row: &[usize], wishes: &[(f64, f64)], slots: &mut [Slot]) {
    // Shift each wish by what lies above it, so that the distances become an order.
    let mut above = 0.0;
    let mut offsets = Vec::with_capacity(row.len());
    for (at, slot) in row.iter().enumerate() {
        if at > 0 {
            above += half(&slots[row[at - 1]]) + half(&slots[*slot]);
        }
        offsets.push(above);
    }
    // Pools of (mean, weight, members).
    let mut pools: Vec<(f64, f64, usize)> = Vec::new();
    for ((wish, weight), offset) in wishes.iter().zip(&offsets) {
        pools.push((wish - offset, *weight, 1));
        while let [.., a, b] = pools.as_slice()
            && a.0 > b.0
        {
            let weight = a.1 + b.1;
            let pool = ((a.0 * a.1 + b.0 * b.1) / weight, weight, a.2 + b.2);
            pools.truncate(pools.len() - 2);
            pools.push(pool);
        }
    }
    let means = pools.iter().flat_map(|(mean, _, n)| std::iter::repeat_n(*mean, *n));
    for ((slot, mean), offset) in row.iter().zip(means).zip(offsets) {
        slots[*slot].y = mean + offset;
    }
}

fn draw(
    widths: &[f64],
    rows: &[Vec<usize>],
    slots: &[Slot],
    edges: &[(usize, usize)],
    chains: &[Vec<usize>],
) -> Layout {
    let top = slots.iter().map(|slot| slot.y - half(slot)).fold(f64::INFINITY, f64::min);
    let bottom = slots.iter().map(|slot| slot.y + half(slot)).fold(f64::NEG_INFINITY, f64::max);
    let mut lefts = Vec::with_capacity(rows.len());
    let mut thickness = Vec::with_capacity(rows.len());
    let mut x = MARGIN;
    for row in rows {
        let widest = row.iter().filter_map(|slot| slots[*slot].node).map(|node| widths[node]);
        let widest = widest.fold(0.0, f64::max);
        lefts.push(x);
        thickness.push(widest);
        x += widest + LAYER_GAP;
    }
    let middle = |slot: usize| slots[slot].y - top + MARGIN - ROW_GAP / 2.0;
    let boxes = (0..widths.len())
        .map(|node| Box2 {
            x: lefts[slots[node].layer],
            y: middle(node) - NODE_HEIGHT / 2.0,
            width: thickness[slots[node].layer],
            layer: slots[node].layer,
        })
        .collect();
    let lines = edges
        .iter()
        .zip(chains)
        .map(|((from, to), chain)| {
            let points = chain.iter().map(|slot| {
                let layer = slots[*slot].layer;
                (lefts[layer], lefts[layer] + thickness[layer], middle(*slot))
            });
            Line { from: *from, to: *to, path: path(points) }
        })
        .collect();
    Layout {
        width: x - LAYER_GAP + MARGIN,
        height: bottom - top - ROW_GAP + 2.0 * MARGIN,
        boxes,
        lines,
    }
}

/// A smooth line through layers: level across a layer, bent between two.
fn path(mut points: impl Iterator<Item = (f64, f64, f64)>) -> String {
    let mut text = String::new();
    let Some((_, mut x, mut y)) = points.next() else { return text };
    let _ = write!(text, "M{x:.0} {y:.1}");
    let mut rest = points.peekable();
    while let Some((left, right, next)) = rest.next() {
        let bend = (left - x) / 2.0;
        let _ = write!(
            text,
            "C{:.0} {y:.1} {:.0} {next:.1} {left:.0} {next:.1}",
            x + bend,
            left - bend
        );
        if rest.peek().is_some() && right > left {
            let _ = write!(text, "H{right:.0}");
        }
        (x, y) = (right, next);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlaps(layout: &Layout) -> usize {
        let apart = |a: &Box2, b: &Box2| {
            a.x + a.width <= b.x
                || b.x + b.width <= a.x
                || (a.y - b.y).abs() >= NODE_HEIGHT + ROW_GAP - 0.01
        };
        let pairs = layout.boxes.iter().enumerate();
        pairs.flat_map(|(n, a)| layout.boxes[n + 1..].iter().filter(move |b| !apart(a, b))).count()
    }

    /// What must hold of every layout; returns layers and drawn edges.
    fn check(nodes: usize, edges: &[(usize, usize)]) -> (Vec<usize>, Vec<(usize, usize)>) {
        let laid = layout(&vec![120.0; nodes], edges);
        assert_eq!(overlaps(&laid), 0, "boxes overlap");
        for b in &laid.boxes {
            assert!(b.x >= 0.0 && b.x + b.width <= laid.width, "{b:?} is outside {}", laid.width);
            assert!(b.y >= 0.0 && b.y + NODE_HEIGHT <= laid.height, "{b:?}, {}", laid.height);
        }
        for (from, to) in edges {
            assert!(laid.boxes[*from].layer < laid.boxes[*to].layer, "{from} is left of {to}");
        }
        let layers = laid.boxes.iter().map(|b| b.layer).collect();
        (layers, laid.lines.iter().map(|line| (line.from, line.to)).collect())
    }

    #[test]
    fn a_chain_is_a_straight_line() {
        let (layers, _) = check(4, &[(0, 1), (1, 2), (2, 3)]);
        assert_eq!(layers, [0, 1, 2, 3]);
        let laid = layout(&[120.0; 4], &[(0, 1), (1, 2), (2, 3)]);
        assert!(laid.boxes.iter().all(|b| (b.y - laid.boxes[0].y).abs() < 0.01));
        assert_eq!(laid.lines[0].path, "M128 27.0C148 27.0 148 27.0 168 27.0");
    }

    #[test]
    fn implied_edges_are_left_out() {
        let (_, drawn) = check(3, &[(0, 1), (1, 2), (0, 2), (0, 1)]);
        assert_eq!(drawn, [(0, 1), (1, 2)]);
    }

    #[test]
    fn a_source_stands_before_what_it_feeds() {
        let (layers, _) = check(4, &[(0, 1), (1, 2), (3, 2)]);
        assert_eq!(layers, [0, 1, 2, 1]);
    }

    #[test]
    fn crossings_that_can_be_avoided_are() {
        // Two chains given crosswise.
        let edges = [(0, 5), (1, 4), (2, 3), (3, 6), (4, 7), (5, 8)];
        let reduced = reduce(9, &edges);
        let layers = layers(9, &reduced);
        let (slots, _) = slots(&layers, &reduced);
        let mut rows = rows(&slots);
        assert_eq!(crossings(&rows, &slots), 3);
        order(&mut rows, &slots);
        assert_eq!(crossings(&rows, &slots), 0);
        check(9, &edges);
    }

    #[test]
    fn large_graphs_hold_together() {
        // 100 tasks in 10 layers, each fed by two of the layer before, and an end that waits for
        // all of them.
        let mut edges = Vec::new();
        for node in 10..100 {
            let (layer, at) = (node / 10, node % 10);
            edges.push(((layer - 1) * 10 + at, node));
            edges.push(((layer - 1) * 10 + (at * 7 + layer) % 10, node));
        }
        edges.extend((0..100).map(|node| (node, 100)));
        let (layers, drawn) = check(101, &edges);
        assert_eq!(layers[100], 10);
        assert!(drawn.len() < 200, "{}", drawn.len());
        let fan: Vec<(usize, usize)> = (1..=400).flat_map(|n| [(0, n), (n, 401)]).collect();
        check(402, &fan);
    }

    #[test]
    fn nothing_and_single_nodes() {
        assert_eq!(layout(&[], &[]), Layout::default());
        assert_eq!(check(3, &[]).0, [0, 0, 0]);
    }
}
