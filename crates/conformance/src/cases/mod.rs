//! The cases, and the list of their names.

mod every;
mod files;
mod isolation;
mod limits;
mod mounts;

use crate::Case;

/// Every case.
pub fn cases() -> impl Iterator<Item = &'static Case> {
    [
        every::CASES,
        files::CASES,
        mounts::CASES,
        isolation::CASES,
        limits::CASES,
    ]
    .into_iter()
    .flatten()
}

/// A macro needs the names as they stand; a test holds them against the cases.
#[doc(hidden)]
#[macro_export]
macro_rules! __each_case {
    (($($then:tt)+) [$($given:tt)*]) => {
        $($then)+! { [$($given)*]
            the_environment_is_what_was_set
            arguments_are_bytes
            the_working_directory_is_the_one_asked_for
            no_descriptor_is_open_but_those_passed
            signals_have_their_defaults
            limits_are_the_callers
            the_session_is_its_own
            standard_streams_lead_where_they_are_sent
            the_end_is_told
            a_signal_reaches_the_command
            a_missing_command_is_no_run
            a_missing_directory_is_no_run
            ids_are_the_callers
            what_is_not_asked_for_is_shared
            less_will_do

            the_root_is_the_directory_given
            the_root_cannot_be_left
            a_writable_root_can_be_written
            what_an_overlay_takes_leaves_the_root_alone
            the_command_gains_nothing
            the_hosts_root_can_be_read_only
            private_places_of_the_hosts_root_are_hidden
            a_read_only_root_cannot_be_changed
            a_read_only_root_stays_so
            a_read_only_root_but_for_a_list

            a_bind_shows_the_host
            a_read_only_bind_cannot_be_changed
            a_bind_leaves_no_trace
            links_on_the_way_stay_inside
            mounts_apply_in_their_order
            a_tmpfs_is_empty_and_private
            a_tmpfs_holds_what_it_may
            runs_share_nothing
            proc_is_that_of_the_sandbox
            proc_is_no_lever
            devices_are_those_promised
            devices_cannot_be_replaced
            a_file_from_data
            links_and_directories
            links_and_directories_leave_no_trace
            a_mask_hides_what_is_there
            a_mask_hides_what_is_not_there_yet
            a_mask_holds_against_root

            the_network_is_its_own
            sockets_without_a_file_are_out_of_reach
            sockets_below_a_read_only_bind_are_out_of_reach
            sockets_that_are_allowed_can_be_connected_to
            sockets_below_a_writable_bind_can_be_connected_to
            other_processes_are_out_of_reach
            nothing_outlives_the_run
            a_child_that_is_dropped_is_dead
            ipc_is_its_own
            a_host_name_of_its_own
            a_cgroup_view_of_its_own
            clocks_of_its_own
            a_user_namespace_of_its_own
            ids_as_asked_for
            root_inside
            a_range_of_ids
            system_calls_are_filtered
            no_further_user_namespaces

            time_on_processors_is_limited
            memory_is_limited
            what_is_in_a_tmpfs_is_memory
            processes_are_limited
            the_size_of_files_is_limited
            open_files_are_limited
            the_stack_is_limited
            core_dumps_are_limited
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;

    macro_rules! names {
        ([] $($name:ident)*) => { [$(stringify!($name)),*] };
    }

    #[test]
    fn the_list_of_names_is_complete() {
        let cases: Vec<_> = cases().map(|case| case.name).collect();
        let listed: Vec<_> = crate::__each_case! { (names) [] }.to_vec();
        assert_eq!(cases, listed);
    }

    #[test]
    fn each_case_asks_for_the_features_that_it_is_about() {
        for case in cases() {
            let world = World::new(case, true).unwrap();
            let config = world.config(case);
            let asked = sandboxlib_core::requests(&config);
            for feature in case.needs {
                let found = asked.iter().any(|request| request.feature == *feature);
                assert!(found, "{}: {feature}", case.name);
            }
            // A root of its own and what is said; less_will_do asks for all that there is.
            let more = asked.iter().filter(|r| !r.preferred).map(|r| r.feature);
            for feature in more {
                let said = feature.name() == "root" || case.needs.contains(&feature);
                assert!(said, "{}: {feature}", case.name);
            }
            assert!(
                case.by_hand.is_some() == case.asks.is_empty(),
                "{}",
                case.name
            );
        }
    }

    #[test]
    fn every_feature_has_a_case() {
        // What an image wants mounted is settled before any backend is asked.
        let of_images = sandboxlib_config::Feature::Volumes;
        let mut all = sandboxlib_config::Feature::ALL.iter();
        while let Some(feature) = all.find(|feature| **feature != of_images) {
            assert!(
                cases().any(|case| case.needs.contains(feature)),
                "{feature}"
            );
        }
    }
}
