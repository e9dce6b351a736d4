//! Every code that a diagnostic, an error of a command or a failure of a task can carry. The pages of
//! `docs/errors/` are made from this table.

/// A kind of diagnostic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// The code: `TM0107`.
    pub id: &'static str,
    /// What is wrong, in a few words.
    pub title: &'static str,
    /// How it comes about.
    pub cause: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

impl Code {
    /// The remedy in the form of a help, for findings that know of no better one.
    pub(crate) fn help(&self) -> String {
        crate::report::as_help(self.remedy)
    }
}

/// The entry of a code: of `TM0107`, `tm107`, `107`, or of `error[TM0107]` as a message has it.
pub fn find(id: &str) -> Option<&'static Code> {
    let inner = id.split_once('[').map_or(id, |(_, rest)| rest.trim_end_matches([']', ':']));
    let digits = inner.trim().trim_start_matches(['t', 'T', 'm', 'M']);
    let number: u32 = digits.parse().ok()?;
    let id = format!("TM{number:04}");
    CODES.iter().copied().find(|code| code.id == id)
}

macro_rules! codes {
    ($($name:ident = $id:literal, $title:literal, $cause:literal, $remedy:literal;)*) => {
        $(
            #[doc = concat!("`", $id, "`: ", $title, ".")]
            pub static $name: Code =
                Code { id: $id, title: $title, cause: $cause, remedy: $remedy };
        )*
        /// Every code, in order.
        pub static CODES: &[&Code] = &[$(&$name),*];
    };
}

codes! {
    // TM00xx: the text as YAML.
    SYNTAX = "TM0001", "not YAML", "The text breaks a rule of YAML, so nothing in it can be read.",
        "Look at the place and the line above it: most often an indentation, a quote or a colon is wrong; a value that holds `${{ … }}` next to a colon or a brace needs quotes around it.";
    TOO_LARGE = "TM0002", "file too large", "A file has at most 8 MiB, 500,000 values after aliases, and 64 levels.",
        "Split the DAG, or move data out of the file.";
    NOT_TEXT = "TM0003", "not a text file", "The file holds a control character, or bytes that are no UTF-8.",
        "Save the file as UTF-8 text.";
    TAB = "TM0004", "tab in the indentation", "YAML allows only spaces before a key.", "Replace the tab by spaces.";
    DUPLICATE_KEY = "TM0005", "key given twice", "A mapping holds the same key twice, and YAML readers differ in which one counts.",
        "Remove or rename one of them.";
    MERGE_KEY = "TM0006", "merge key", "`<<` is no part of YAML 1.2 and hides where a value comes from.",
        "Write the keys out, use `defaults`, or refer to whole values with `*name`.";
    TAG = "TM0007", "tag", "A value carries a tag such as `!ref`, which has no meaning here.", "Remove the tag; put a value that starts with `!` in quotes.";
    DOCUMENTS = "TM0008", "several documents", "One file is one DAG, so a second `---` cannot be.", "Move the second document into a file of its own.";
    ALIAS = "TM0009", "alias", "An alias names no anchor, or its own surroundings, or there are more than 100 aliases, or aliases of aliases repeat their values more than 100 times.",
        "Give the anchor before the alias, and outside of it; write values out that are repeated often.";
    KEY_KIND = "TM0010", "key that is no string", "A key of a mapping is a list, a mapping or nothing.", "Write the key as a plain word.";
    EMPTY = "TM0011", "empty file", "The file holds no value.", "Write at least `tasks:` with one task.";
    TOO_MANY = "TM0012", "too many problems", "More than 200 problems were found; the others are not shown.", "Repair the ones shown, then look again.";
    UNUSABLE = "TM0013", "file that cannot be used", "The file cannot be read, or nothing reads a file of its name, as `_defaults.yml` beside `_defaults.yaml`, or the name of its DAG is already that of another file.",
        "Look at the mode of the file, rename `_defaults.yml` and the like to `.yaml`, or give one of the two DAGs another name.";

    FORMAT = "TM0014", "file that cannot be formatted", "What was formatted did not mean the same, or lacked a comment, so the file was left as it is. That is a fault of Tidemill, not of the file.",
        "Report it with the file; until then, write what is unusual in it more plainly.";

    // TM01xx: structure, names, the graph.
    UNKNOWN_KEY = "TM0101", "unknown key", "The language has no such key at this place.", "Use one of the keys that are listed, or `x-…` for notes at the top of the file.";
    MISSING_KEY = "TM0102", "missing key", "A key that has no default is not there.", "Add the key.";
    WRONG_TYPE = "TM0103", "wrong type", "A value has another type than the key takes. `yes`, `no`, `on` and `off` are strings.", "Write a value of the type that is named.";
    BAD_NAME = "TM0104", "bad name", "Names are also SQL and CEL names: `[a-z][a-z0-9_]*`, at most 63 letters. DAGs, pools and connections may hold `-` too.", "Choose another name.";
    NOT_ALLOWED = "TM0105", "value not allowed", "The value has the right type but is none of those allowed.", "Write a value that is allowed.";
    ACTION = "TM0106", "not exactly one action", "A task does exactly one thing: `ingest`, `transform`, `load`, `run`, `call`, `wait`, `approve`, `noop`, or `tasks`, which makes it a group.", "Give the task one action; make a second task for the second action.";
    UNKNOWN_TASK = "TM0107", "unknown task", "A task is named that the DAG does not have.", "Correct the name, or add the task.";
    UNKNOWN_TABLE = "TM0108", "unknown table", "A query or setting names a table that no task of this DAG makes.", "Correct the name; a task's table has the name of the task.";
    CYCLE = "TM0109", "tasks wait for each other", "Every task of the cycle waits for another one of it, so none could ever start.", "Remove one of the dependencies that are listed.";
    READS_ITSELF = "TM0110", "task depends on itself", "A task names itself or its own table as its input.", "Name another task.";
    NAME_TAKEN = "TM0111", "name already taken", "The name already means something else.", "Choose another name.";
    NOT_HERE = "TM0112", "key not for this action", "The key has no meaning for this kind of task, or beside its other keys.", "Remove the key.";
    LOAD_INPUT = "TM0113", "load without one table", "A `load` writes exactly one table, the one that `from` names.", "Give `from` the name of one task's table.";
    CHECK = "TM0114", "check that cannot work", "`quarantine` needs a check that blames single rows (`not_null`, `unique`, `where`), and a task whose action does not make the table of rejects itself, as `clean` does. A check needs a table to look at.", "Use `stop` or `warn`, or another check, or put the check on a task that reads the table.";
    PARAM = "TM0115", "param whose values do not fit", "The default or a value of `enum` is not of the param's type, or the default is not in `enum`.", "Correct the value or the `type` of the param.";
    UNKNOWN_POOL = "TM0116", "unknown pool", "A task asks for a pool that `pools.yaml` does not have.", "Add the pool, or correct the name.";
    NESTED = "TM0117", "group inside of a group", "A group holds tasks, not groups, and what is mapped over a list is not mapped over another one inside of it.", "Make one group or one list of both, or put the inner one into a DAG of its own.";
    NOT_OUTSIDE = "TM0118", "member seen from outside", "Outside of a group, its members cannot be waited for one by one, and those of a mapped group have no table or value of their own: there is one for each item.", "Wait for the group, or name what it gives in its `outputs`.";
    UNKNOWN_DAG = "TM0119", "called DAG that is not beside this file", "A task calls a DAG of which there is no file in the same folder. A server finds it anywhere in the folder that it serves; `tidemill run` looks beside the file.", "Correct the name, or put the file of the DAG beside this one.";
    STARTS_ITSELF = "TM0120", "DAG that starts itself", "A DAG calls itself, by way of other DAGs or at once, or is started by its own runs or by a table of its own, so that each run would start the next one without end. Calls may be 16 deep, one inside the other.", "Name another DAG; for a list, use `for_each`.";
    EMPTY_TABLE = "TM0121", "table that is always empty", "`TASK.bad_rows` holds the rows that a source could not read and set aside. Without `on_bad_row: quarantine` such a row ends the task, and some sources set none aside at all.", "Add `on_bad_row: quarantine` to the settings of the source, or do not read the table.";

    // TM02xx: control expressions.
    EXPR_SYNTAX = "TM0201", "expression does not parse", "The text is no CEL expression, or `${{` is not closed.", "Correct it at the place that is marked: texts have quotes, `==` compares, `&&`, `||` and `!` join conditions, and each bracket is closed.";
    EXPR_NAME = "TM0202", "unknown name in an expression", "An expression reads something that does not exist.", "Use a param, a field of `run`, or a field of one of the DAG's tasks.";
    EXPR_FUNCTION = "TM0203", "wrong call of a function", "An expression calls a function that does not exist, or with other arguments than it takes.", "Use one of the functions of `docs/functions.md`.";
    SECRET_HERE = "TM0204", "secret at a place where it would leak", "Secrets may stand only in `env`, in `bind` and in the settings of a connector: elsewhere they would be kept, logged or shown.", "Put the secret into `env` or `bind`, and use that name.";
    EXPR_TYPE = "TM0205", "types that do not go together", "An operator or a key is given values of types that it cannot work with. Whole numbers and numbers with a fraction are two types, and instants of a run are texts.", "Bring the values to one type: `double(…)`, `string(…)`, `timestamp(…)`, or write the value in the other form: `2.0`, `'3'`.";
    NEVER_EQUAL = "TM0206", "comparison that never holds", "A text is compared with the state of a task, with `run.trigger`, or with a param that has an `enum`, and is none of their values.", "Correct the text.";
    OTHER_FORM = "TM0207", "text that looks like an expression", "Other tools write `{{ … }}`, `${ … }` or `$name` for a value. Here such a text is taken as it is written.", "Write `${{ … }}` for the value, or `${{ '{{ … }}' }}` where the text itself is meant.";

    // TM03xx: SQL.
    SQL_SYNTAX = "TM0301", "SQL does not parse", "The text is no SQL.", "Correct the SQL at the place that is marked: most often a comma, a quote, a bracket or a keyword is missing or one too many.";
    SQL_NOT_QUERY = "TM0302", "not one query", "A task's SQL is exactly one query: it reads, and changes nothing.", "Write one `select`.";
    SQL_NAME = "TM0303", "unknown parameter", "A `$name` is neither a param, nor in `bind`, nor one of the run's own values.", "Correct the name, or give it a value in `bind`.";
    SQL_EXPR = "TM0304", "expression inside SQL", "`${{ … }}` in SQL would put text into the query, which is how injections happen.", "Write `$name` in the SQL and give the name its value in `bind`.";
    SQL_SUBQUERY = "TM0305", "query inside a condition", "A condition or a column expression reads the columns of its own row, nothing else.", "Join the other table in a `sql` transform first.";
    SQL_PARAMETER = "TM0306", "parameter without a name", "Parameters are written `$name`; `?`, `$1` and `:name` are not used.", "Write `$name`.";

    // TM04xx: connectors, transforms, their settings.
    UNKNOWN_CONNECTOR = "TM0401", "unknown connector", "This installation has no connector of this name, or a test stands in for one that no task reads from.", "Correct the name.";
    NO_SUCH_END = "TM0402", "connector without this end", "The connector can only be read from, or only be written to.", "Use another connector.";
    UNKNOWN_TRANSFORM = "TM0403", "unknown transform", "This installation has no transform of this name.", "Correct the name.";
    UNKNOWN_SETTING = "TM0404", "unknown setting", "The connector or transform has no such setting.", "Use one of the settings that are listed.";
    MISSING_SETTING = "TM0405", "missing setting", "A setting that has no default is not there.", "Add the setting.";
    WRONG_SETTING = "TM0406", "wrong setting", "The value of a setting has another type than it takes, or is not allowed.", "Write a value that the setting takes.";
    UNKNOWN_CONNECTION = "TM0407", "unknown connection", "The connection is not in `connections.yaml`.", "Add the connection, or correct the name.";
    JINJA = "TM0408", "message text does not parse", "The text is no Jinja template, or holds `${{ … }}`, which message texts do not know.", "Correct the template; write `{{ name }}` for the value of a column.";
    OPEN_SECRET = "TM0409", "secret in the open", "A field that looks like a password is written in `connections.yaml` itself, where backups and logs of changes keep it.", "Write `{secret: NAME}` and give the secret its value in the environment or the file of secrets.";

    // TM05xx: time.
    SCHEDULE = "TM0501", "bad schedule", "The schedule is no cron line, or one that is never due.", "Write five fields: minute, hour, day of month, month, day of week.";
    TIMEZONE = "TM0502", "unknown time zone", "Time zones have the names of the IANA database, for example `Europe/Zurich`.", "Correct the name.";
    INSTANT = "TM0503", "bad date or instant", "The text is neither a date nor an instant, or the zone's clocks skip it.", "Write `2026-01-31` or `2026-01-31T02:00:00Z`.";
    DURATION = "TM0504", "bad duration", "Durations are a number and a unit.", "Write `100ms`, `10s`, `5m`, `2h` or `1d`.";
    SCHEDULE_WARNING = "TM0505", "schedule that may surprise", "The schedule means something else than it may seem to.", "Change the schedule if that is not what you want.";
    TRIGGER = "TM0506", "trigger that cannot be", "A trigger has exactly one kind, and some of its keys go only with some kinds. `schedule` is short for a list of one trigger, so that it does not stand beside `triggers`.", "Make a trigger of its own of each kind, and remove the key that has no meaning.";
    UNKNOWN_CALENDAR = "TM0507", "unknown calendar", "A trigger or another calendar names a calendar that `calendars.yaml` does not have.", "Add the calendar, or correct the name.";

    // TM06xx: commands.
    SHELL_PLACE = "TM0601", "expression where the shell would read it", "An expression never becomes part of a script: it travels in an environment variable. At this place the shell would not put the variable in, or would read it as code.", "Assign it to a variable first: `day=${{ … }}`, then use `\"$day\"`.";
    SCRIPT_SIZE = "TM0602", "script too long", "A script has at most 64 KiB.", "Move the script into a file and run that.";
    NO_COMMAND = "TM0603", "no command", "The command is empty.", "Name the program to run.";
    OUTSIDE = "TM0604", "folder outside of the project", "A command runs in the folder of its DAG file or below it, so that a DAG works wherever its folder is.", "Write a path below the folder of the DAG file, without `..` that leads out of it.";

    // TM07xx: tables and their columns, as a plan sees them before anything runs.
    SQL_TABLES = "TM0701", "SQL that does not fit its tables", "A query, a condition or an expression uses a column that its tables do not have, or computes with types that do not go together. The columns are those that the settings declare, that the files have now, or that the last run left.", "Correct the SQL, or look with `tidemill plan` at the columns that are known.";
    SETTING_TABLES = "TM0702", "settings that do not fit a table", "A setting names a column that the table does not have, or one of another type. The columns are those that the settings declare, that the files have now, or that the last run left.", "Correct the setting, or look with `tidemill plan` at the columns that are known.";
    CHECK_TABLES = "TM0703", "check that does not fit its table", "A check names a column that the table does not have, or its SQL does not fit.", "Correct the check, or look with `tidemill plan` at the columns that are known.";
    SOURCE_UNREAD = "TM0704", "source that cannot be read now", "What an `ingest` task reads is not there, or cannot be read, so its columns are not known. That may be right at this hour: an earlier task or another system may make it.", "Look at the path, or declare the columns in the settings.";
    UNUSED_TABLE = "TM0711", "table that nothing reads", "A task makes a table which no other task reads, while the results of others are loaded.", "Remove the task, or load its table.";
    CARTESIAN = "TM0712", "join without a condition", "Every row of one table meets every row of another, which grows fast.", "Join them `on` a condition, or write `cross join` if that is meant.";
    UNBOUNDED_MAP = "TM0713", "list of unknown length", "A task is mapped over a list whose length only the data decide, and nothing says how many items are under way at once or how many may fail.", "Write `max_parallel`, so that who reads the DAG knows what it may take.";

    // TM08xx: commands, and what is asked of a server.
    ARGUMENT = "TM0801", "argument", "What was typed, or asked of the server, cannot be: a value that is not of its type, one that is given twice, a name that is none.",
        "The message names the argument and what it takes; `tidemill COMMAND --help` shows all of them, with examples.";
    MISSING = "TM0802", "not there", "There is no DAG, run, task, item, log, table or test of this name.",
        "Look at what there is: `tidemill runs`, `tidemill show RUN`, or the names that the message gives.";
    CONFLICT = "TM0803", "not now", "What was asked for makes no sense in the state that things are in: the run has ended, the file is there already, the DAG cannot run.",
        "The message says what is in the way; `tidemill show RUN` shows the state of a run.";
    HOME = "TM0804", "home", "The folder that holds everything cannot be used: another process works on it, it is none, it was written by a newer release, or something in it cannot be read.",
        "Wait for the other process, or name another folder with `--home`; `tidemill doctor` checks what is kept.";
    FILES = "TM0805", "file", "A file or folder cannot be read or written.",
        "Look whether it is there, who may read and write it, and whether its disk has space.";
    SERVER = "TM0806", "server", "The server does not answer, cannot answer now, or answers what this command does not understand.",
        "Look whether `tidemill serve` runs and what its log says; the command and the server should be of the same release.";
    INTERNAL = "TM0807", "trouble of this machine or program", "The system gives no thread, no memory or no random numbers; or this program has a bug.",
        "Look what the machine lacks; report what looks like a bug, with the log.";

    // TM09xx: known, but not yet runnable.
    LATER_KEY = "TM0901", "key not runnable yet", "The language has this key, this version cannot run it. `validate` and `plan` go on, `run` and `serve` refuse.", "Remove the key, or use a newer version.";
    LATER_ACTION = "TM0902", "action not runnable yet", "The language has this action, this version cannot run it. `validate` and `plan` go on, `run` and `serve` refuse.", "Use another action, or a newer version.";
    LATER_NAME = "TM0903", "name not usable yet", "The language has this name in expressions or SQL, this version cannot give it a value.", "Use another name, or a newer version.";

    // TM10xx: how an attempt of a task fails.
    TASK_EXIT = "TM1001", "command failed", "A command ended with a code other than 0; 99 alone means that there was nothing to do.",
        "The last line of its standard error stands in the message, the rest in `tidemill logs RUN TASK`.";
    TASK_SIGNAL = "TM1002", "command ended by a signal", "A command was ended from outside; KILL often means that the machine had no memory left.",
        "Look at what the machine has and what the command takes; `tidemill logs RUN TASK` shows how far it came.";
    TASK_TIMEOUT = "TM1003", "took too long", "An attempt, or a group, took longer than its `timeout`. What it had started was ended.",
        "Give it more time, or less to do: `timeout`.";
    TASK_TRANSIENT = "TM1004", "another system in trouble", "Another system did not answer, or had a fault that should pass, for longer than an attempt is patient.",
        "Let the task try again later: `retry: {limit: 3, delay: 1m}`.";
    TASK_REFUSED = "TM1005", "refused", "Another system said no, or a person did. Trying again would not help.",
        "Look at what the message quotes: most often a right is missing, or a name is wrong over there.";
    TASK_MISCONFIGURED = "TM1006", "settings that cannot work", "The DAG, a connection or the environment is wrong, and that was seen only when the task ran: a file is not there, a column has another name.",
        "Correct what the message names. `tidemill plan` and `validate --strict` find most of it beforehand.";
    TASK_DATA = "TM1007", "wrong data", "A value cannot be what its column says, or a file is not of its form.",
        "Correct the data at its place, which the message names; or set such rows aside: `on_bad_row: quarantine`, or a check with `on_fail: quarantine`.";
    TASK_CHECK = "TM1008", "check failed", "A check with `on_fail: stop` did not hold, so nothing that comes after the task saw its table.",
        "Look at the rows that the check names; let it set them aside (`on_fail: quarantine`) or only say so (`warn`) if that is meant.";
    TASK_EXPRESSION = "TM1009", "expression without a value", "An expression could not be evaluated with the values of this run.",
        "Look at the values that it reads: `tidemill show RUN --json`.";
    TASK_INTERNAL = "TM1010", "trouble of this machine", "The disk is full, the home was moved, a process cannot be started or ended; or this program has a bug.",
        "The message says what is in the way; `tidemill doctor` checks the home.";
    TASK_LOST = "TM1011", "lost", "The server ended while the attempt ran, so nobody knows how it ended. It was ended, and tried again as long as that is sensible.",
        "Nothing, if a later attempt succeeded; else run it again, and look why the server ended.";
    TASK_INSIDE = "TM1012", "something inside failed", "A member of a group, an item of a list or a called run failed.",
        "The message names the first one: look at that with `tidemill show RUN 'TASK[0]'` or `tidemill show OTHER_RUN`.";
}

#[cfg(test)]
mod tests {
    use tidemill_model::FailureKind;

    use super::*;

    #[test]
    fn codes_are_in_order_and_complete() {
        assert!(CODES.windows(2).all(|pair| pair[0].id < pair[1].id), "each code once, ascending");
        for code in CODES {
            assert!(code.id.len() == 6 && code.id.starts_with("TM"), "{}", code.id);
            assert!(code.cause.ends_with('.') && code.remedy.ends_with('.'), "{}", code.id);
        }
        assert_eq!(find("tm0107"), Some(&UNKNOWN_TASK));
        assert_eq!(find("TM9999"), None);
    }

    #[test]
    fn every_failure_of_a_task_has_its_entry() {
        for kind in FailureKind::ALL {
            let code = find(kind.code()).unwrap_or_else(|| panic!("{kind:?}"));
            assert_eq!(code.id, kind.code());
        }
    }
}
