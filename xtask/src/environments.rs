//! Environments in which something is missing, as shell scripts in which `$RUN` is the command to
//! be started there. util-linux's tools make them in namespaces of their own, so nothing of the
//! machine is changed. A set-up that fails ends the script, so that nothing is told of an
//! environment that was not there.

/// As it is.
pub(crate) const NOTHING_IN_THE_WAY: &str = "exec $RUN";

pub(crate) const NO_USER_NAMESPACES: &str = "exec unshare -Ur --map-user=1000 --map-group=1000 --keep-caps sh -c \
     'echo 0 >/proc/sys/user/max_user_namespaces && \
     exec setpriv --inh-caps=-all --ambient-caps=-all $RUN'";

/// `$FILTER` is the launcher with a container engine's system call filter.
pub(crate) const FILTERED: &str = "exec $FILTER $RUN";

pub(crate) const COVERED_PROC: &str = "exec unshare -Urmpf --mount-proc sh -c \
                                       'mount -t tmpfs -o ro none /proc/fs && exec $RUN'";

pub(crate) const NO_NETWORK_NAMESPACES: &str =
    "exec unshare -Ur sh -c 'echo 0 >/proc/sys/user/max_net_namespaces && exec $RUN'";

pub(crate) const NO_PROCESSES: &str = "exec prlimit --nproc=1 $RUN";

/// In a sandbox of ours; `$R` is run-sandbox.
pub(crate) const NESTED: &str = "exec $R --allow-nested --readable ${R%/*} --env PATH=$PATH / $RUN";
