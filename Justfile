# `just` alone lists what there is.

_list:
    @just --list --unsorted

# The personalization DAG on real data, then the UI
demo *args:
    cargo run -- demo {{args}}

# Does it compile, and is it clean? (format, clippy, house rules)
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    cargo run --quiet -p xtask -- tidy

# All tests; `just test --quick` for the short round, `--only rust|e2e|browser` for a part
test *args:
    tests/run {{args}}

# Format, and what clippy can mend by itself
fix:
    cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged
    cargo fmt --all

# Write the generated pages of docs/
docs:
    cargo run --quiet -- docs docs

# Figures, from a release build
bench *names:
    cargo run --release -- bench {{names}}

# The scheduler under a simulated world, many seeds
sim seeds="1000":
    TIDEMILL_SIM_SEEDS=0..{{seeds}} cargo test -p tidemill-unify -p tidemill-simulation --test it -- --nocapture

# Licences and known holes of the packages that we use
deny:
    cargo deny --config .deny.toml check
