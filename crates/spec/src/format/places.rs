//! What formatting knows of the places of the language: the order of keys, and what has a long form.

use crate::files::POOL;
use crate::keys::{self, Key, runs, test_file};
use crate::yaml::layout::Kind;

/// A place in a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Site {
    /// The keys in their order, one table after the other. Without any, the order is the author's.
    keys: &'static [&'static [Key]],
    /// Keys that go behind those of the tables.
    late: &'static [&'static str],
    /// The places below keys.
    below: &'static [(&'static str, &'static Site)],
    /// The place of all other members: names, or the items of a list.
    each: Option<&'static Site>,
    /// What takes its place when a key is there.
    instead: Option<(&'static str, &'static Site)>,
    /// What a value that is no mapping is short for.
    pub(super) long: Option<Long>,
    /// Whether long members have blank lines between them.
    pub(super) is_spaced: bool,
    /// Whether keys that start with `x-` are the author's own.
    has_notes: bool,
}

/// A long form.
#[derive(Debug, Clone, Copy)]
pub(super) enum Long {
    /// A mapping with this key, for values of this kind.
    Key { key: &'static str, kind: Kind, is_flow: bool },
    /// A list of one.
    Item,
    /// Nothing: `{}` is written so.
    Nothing,
}

impl Site {
    /// The place itself, or what takes its place for a mapping with such keys.
    pub(super) fn with(&'static self, has: impl Fn(&str) -> bool) -> &'static Self {
        self.instead.filter(|(key, _)| has(key)).map_or(self, |(_, site)| site)
    }

    /// The place of a member.
    pub(super) fn below(&'static self, name: &str) -> &'static Self {
        let named = self.below.iter().find(|(key, _)| *key == name).map(|(_, site)| *site);
        let each = self.each.filter(|_| !self.is_note(name));
        named.or(each).unwrap_or(&FREE)
    }

    /// Whether the keys have an order here.
    pub(super) fn is_ordered(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Whether a key is the author's own, with what others refer to.
    pub(super) fn is_note(&self, name: &str) -> bool {
        self.has_notes && name.starts_with("x-")
    }

    /// The position of a key; keys that are not known come after all others.
    pub(super) fn rank(&self, name: &str) -> usize {
        let keys = || self.keys.iter().flat_map(|table| table.iter());
        if let Some(late) = self.late.iter().position(|key| *key == name) {
            return keys().count() + late;
        }
        keys().position(|key| key.name == name).unwrap_or(usize::MAX)
    }
}

/// Whatever is the author's: settings, values, rows.
pub(super) static FREE: Site = ANY;

const ANY: Site = Site {
    keys: &[],
    late: &[],
    below: &[],
    each: None,
    instead: None,
    long: None,
    is_spaced: false,
    has_notes: false,
};

const fn ordered(keys: &'static [&'static [Key]]) -> Site {
    Site { keys, ..ANY }
}

const fn of_each(each: &'static Site) -> Site {
    Site { each: Some(each), ..ANY }
}

const fn short_for(key: &'static str, kind: Kind, site: Site) -> Site {
    Site { long: Some(Long::Key { key, kind, is_flow: false }), ..site }
}

const fn short_in_brackets(key: &'static str, site: Site) -> Site {
    Site { long: Some(Long::Key { key, kind: Kind::Text, is_flow: true }), ..site }
}

const fn file(site: Site) -> Site {
    Site { is_spaced: true, has_notes: true, ..site }
}

/// A DAG file.
pub(super) static DAG: Site = file(Site {
    below: &[
        ("params", &PARAMS),
        ("defaults", &DEFAULTS),
        ("triggers", &TRIGGERS),
        ("concurrency", &CONCURRENCY),
        ("deadline", &DEADLINE),
        ("retry", &RETRY),
        ("auto_pause", &AUTO_PAUSE),
        ("tasks", &TASKS),
        ("on_success", &HANDLERS),
        ("on_failure", &HANDLERS),
        ("finally", &HANDLERS),
    ],
    ..ordered(&[keys::TOP])
});

/// `_defaults.yaml`.
pub(super) static FOLDER: Site =
    file(Site { below: &[("defaults", &DEFAULTS)], ..ordered(&[keys::FOLDER]) });

/// `connections.yaml`, and files that are not known.
pub(super) static NAMES: Site = file(ANY);

/// `pools.yaml`.
pub(super) static POOLS: Site = file(of_each(&SLOTS));

/// A file of tests. What it holds are data and expectations, and a list of rows is no less plain
/// than `rows` with a list; so its short forms stay.
pub(super) static TESTS: Site =
    file(Site { below: &[("tests", &NAMED_TESTS)], ..ordered(&[test_file::TESTS]) });

/// `calendars.yaml`.
pub(super) static CALENDARS: Site = file(of_each(&CALENDAR));

static CALENDAR: Site = ordered(&[runs::CALENDAR]);
static TRIGGERS: Site = of_each(&TRIGGER);
static TRIGGER: Site = Site {
    below: &[
        ("dataset", &TRIGGER_DATASET),
        ("file", &TRIGGER_FILE),
        ("dag", &TRIGGER_DAG),
        ("webhook", &TRIGGER_WEBHOOK),
        ("stream", &TRIGGER_STREAM),
        ("blackout", &BLACKOUTS),
    ],
    ..ordered(&[runs::TRIGGER])
};
/// `dataset: NAME` is no short form of either key: it is a table, not one of several.
static TRIGGER_DATASET: Site = ordered(&[runs::TRIGGER_DATASET]);
static TRIGGER_FILE: Site = ordered(&[runs::TRIGGER_FILE]);
static TRIGGER_DAG: Site = ordered(&[runs::TRIGGER_DAG]);
static TRIGGER_WEBHOOK: Site =
    Site { below: &[("batch", &BATCH)], ..ordered(&[runs::TRIGGER_WEBHOOK]) };
static TRIGGER_STREAM: Site =
    Site { below: &[("kafka", &KAFKA), ("batch", &BATCH)], ..ordered(&[runs::TRIGGER_STREAM]) };
static KAFKA: Site = ordered(&[runs::STREAM_KAFKA]);
static BATCH: Site = ordered(&[runs::BATCH]);
static BLACKOUTS: Site = of_each(&BLACKOUT);
static BLACKOUT: Site = ordered(&[runs::BLACKOUT]);
static CONCURRENCY: Site = short_for("limit", Kind::Number, ordered(&[runs::CONCURRENCY]));
static DEADLINE: Site = ordered(&[runs::DEADLINE]);
static AUTO_PAUSE: Site = ordered(&[runs::AUTO_PAUSE]);
static HANDLERS: Site = of_each(&HANDLER);
static HANDLER: Site =
    Site { below: &TASK_PARTS, ..ordered(&[keys::ACTIONS, runs::HANDLER, keys::MODIFIERS]) };
static RATE: Site = ordered(&[runs::RATE]);
static RESOURCES: Site = ordered(&[keys::RESOURCES]);
static ENGINE: Site = ordered(&[runs::ENGINE]);

static SLOTS: Site = short_for("slots", Kind::Number, ordered(&[POOL]));
static PARAMS: Site = of_each(&PARAM);
static PARAM: Site = ordered(&[keys::PARAM]);
static DEFAULTS: Site =
    Site { below: &[("retry", &RETRY), ("resources", &RESOURCES)], ..ordered(&[keys::DEFAULTS]) };
static RETRY: Site = short_for("limit", Kind::Number, ordered(&[keys::RETRY]));

static TASKS: Site = Site { is_spaced: true, ..of_each(&TASK) };
static MEMBERS: Site = of_each(&TASK);
static TASK: Site = Site {
    instead: Some(("tasks", &GROUP)),
    below: &TASK_PARTS,
    ..ordered(&[keys::ACTIONS, keys::MODIFIERS])
};
/// The places below the keys of a task.
static TASK_PARTS: [(&str, &Site); 15] = [
    ("noop", &NOOP),
    ("call", &CALL),
    ("wait", &WAIT),
    ("approve", &APPROVE),
    ("from", &INPUTS),
    ("retry", &RETRY),
    ("checks", &CHECKS),
    ("outputs", &OUTPUTS),
    ("cache", &CACHE),
    ("rate", &RATE),
    ("resources", &RESOURCES),
    ("engine", &ENGINE),
    ("on_failure", &HANDLERS),
    ("on_success", &HANDLERS),
    ("finally", &HANDLERS),
];
/// How a group is run is said before its members: behind them nobody would look for it.
static GROUP: Site = Site {
    late: &["tasks", "outputs", "finally"],
    below: &[
        ("tasks", &MEMBERS),
        ("retry", &RETRY),
        ("outputs", &GROUP_OUTPUTS),
        ("finally", &MEMBERS),
    ],
    ..ordered(&[keys::GROUP, keys::ACTIONS, keys::MODIFIERS])
};
static GROUP_OUTPUTS: Site = short_for("table", Kind::Text, ANY);
static NOOP: Site = Site { long: Some(Long::Nothing), ..ANY };
static CALL: Site = short_for("dag", Kind::Text, ordered(&[keys::CALL]));
static WAIT: Site = short_for("for", Kind::Text, ordered(&[keys::WAIT]));
static APPROVE: Site = short_for(
    "message",
    Kind::Text,
    Site { below: &[("params", &PARAMS)], ..ordered(&[keys::APPROVE]) },
);
static CACHE: Site = short_for("for", Kind::Text, ordered(&[keys::CACHE]));
/// `from: TABLE` is no short form: its input has no name of its own.
static INPUTS: Site = of_each(&INPUT);
static INPUT: Site = short_in_brackets("table", ordered(&[keys::INPUT]));
static OUTPUTS: Site = of_each(&OUTPUT);
static OUTPUT: Site = short_in_brackets("type", ordered(&[keys::OUTPUT]));
static CHECKS: Site = of_each(&CHECK);
static CHECK: Site =
    Site { below: &[("not_null", &COLUMNS), ("unique", &COLUMNS)], ..ordered(&[keys::CHECK]) };
static COLUMNS: Site = Site { long: Some(Long::Item), ..ANY };

static NAMED_TESTS: Site = Site { is_spaced: true, ..of_each(&TEST) };
static TEST: Site = Site {
    below: &[("stubs", &STUBS), ("connectors", &STUBS), ("answers", &ANSWERS), ("expect", &EXPECT)],
    ..ordered(&[test_file::TEST])
};
static STUBS: Site = of_each(&STUB);
static STUB: Site =
    Site { below: &[("tables", &TABLES)], ..ordered(&[test_file::STUB, test_file::ROWS]) };
static TABLES: Site = of_each(&TABLE);
static TABLE: Site = ordered(&[test_file::ROWS]);
static ANSWERS: Site = of_each(&ANSWER);
static ANSWER: Site = ordered(&[test_file::ANSWER]);
static EXPECT: Site =
    Site { below: &[("tables", &EXPECTED_TABLES)], ..ordered(&[test_file::EXPECT]) };
static EXPECTED_TABLES: Site = of_each(&EXPECTED_TABLE);
static EXPECTED_TABLE: Site = ordered(&[test_file::EXPECTED_TABLE, test_file::ROWS]);
