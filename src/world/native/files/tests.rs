//! What is promised about the files of a unit: what is made is taken away again, by whoever had it made, and nothing else is.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Arc;

use super::*;
use crate::model::process::REPLICA_MARK;
use crate::world::native::testing::World;

fn world_with_config(world: &World, target: Option<&str>) -> UnitSpec {
    let mut spec = world.unit("a", "true", |common, process| {
        common.configs.push(FileGrant { source: "c".to_owned(), target: target.map(str::to_owned), ..FileGrant::default() });
        process.scratch.push(world.directory.path().join("stack/scratch/deep"));
    });
    let deployment = Arc::make_mut(&mut spec.deployment);
    deployment.stack.directory = world.directory.path().join("stack");
    deployment.places.state_dir = world.directory.path().join("state");
    deployment.stack.configs.insert("c".to_owned(), FileObject { content: Some("x".to_owned()), ..FileObject::default() });
    fs::create_dir_all(&deployment.stack.directory).unwrap();
    spec
}

#[test]
fn what_was_made_is_taken_away_and_nothing_else() {
    let world = World::new("files");
    let spec = world_with_config(&world, Some("etc/app/c.toml"));
    let stack = world.directory.path().join("stack");
    fs::create_dir(stack.join("etc")).unwrap();
    for _ in 0..2 {
        create(&spec).unwrap();
    }
    let link = stack.join("etc/app/c.toml");
    assert_eq!(fs::read_to_string(&link).unwrap(), "x");
    assert_eq!(fs::metadata(&link).unwrap().permissions().mode() & 0o777, 0o400);
    assert_eq!(fs::metadata(&link).unwrap().uid(), nix::unistd::geteuid().as_raw());

    let state = world.directory.path().join("state");
    remove(&state, &spec.unit, false).unwrap();
    assert!(!stack.join("etc/app").exists() && stack.join("etc").exists() && stack.join("scratch/deep").exists());
    remove(&state, &spec.unit, true).unwrap();
    assert!(!stack.join("scratch/deep").exists());
    assert!(!state.join("files/a.1").exists());
}

#[test]
fn what_a_command_was_lent_goes_with_the_last_one_unless_the_unit_has_come() {
    let world = World::new("lent");
    let spec = world_with_config(&world, Some("c.toml"));
    let link = world.directory.path().join("stack/c.toml");
    let own = world.directory.path().join("state/files/a.1");
    let borrow = || lend(&spec, Stay::ForTheCommand).unwrap();
    let (first, second) = (borrow(), borrow());
    first.give_back().unwrap();
    assert_eq!(fs::read_to_string(&link).unwrap(), "x");
    second.give_back().unwrap();
    assert!(!link.exists() && !own.exists() && !world.directory.path().join("stack/scratch/deep").exists());

    let lent = borrow();
    create(&spec).unwrap();
    lent.give_back().unwrap();
    borrow().give_back().unwrap();
    assert_eq!(fs::read_to_string(&link).unwrap(), "x");
}

#[test]
fn a_unit_and_any_number_of_commands_come_and_go_at_once() {
    let world = World::new("crowd");
    let spec = world_with_config(&world, Some("c.toml"));
    let (link, scratch) = (world.directory.path().join("stack/c.toml"), world.directory.path().join("stack/scratch/deep"));
    let own = world.directory.path().join("state/files/a.1");
    let command = || {
        for _ in 0..40 {
            let lent = lend(&spec, Stay::ForTheCommand).unwrap();
            assert_eq!(fs::read_to_string(&link).unwrap(), "x");
            assert!(scratch.is_dir());
            lent.give_back().unwrap();
        }
    };
    std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(command))));
    assert!(!link.exists() && !scratch.exists() && !own.exists(), "the last one takes all of it along");
    std::thread::scope(|scope| {
        (0..4).for_each(|_| drop(scope.spawn(command)));
        scope.spawn(|| (0..40).for_each(|_| create(&spec).unwrap()));
    });
    assert!(link.exists() && scratch.exists(), "it is the unit's by now");
    remove(&world.directory.path().join("state"), &spec.unit, true).unwrap();
    assert!(!scratch.exists() && !own.exists());
}

#[test]
fn what_is_there_and_no_directory_is_not_taken_for_scratch() {
    let world = World::new("taken");
    let spec = world_with_config(&world, None);
    let (scratch, state) = (world.directory.path().join("stack/scratch/deep"), world.directory.path().join("state"));
    fs::create_dir_all(scratch.parent().unwrap()).unwrap();
    let make: [&dyn Fn(); 2] =
        [&|| fs::write(&scratch, "my notes").unwrap(), &|| std::os::unix::fs::symlink("nowhere", &scratch).unwrap()];
    for make in make {
        make();
        let fault = create(&spec).unwrap_err();
        assert!(fault.message.contains("what is there is no directory"), "{fault}");
        remove(&state, &spec.unit, true).unwrap();
        assert!(scratch.symlink_metadata().is_ok(), "it is still there");
        fs::remove_file(&scratch).unwrap();
    }
}

#[test]
fn a_command_takes_no_scratch_with_it_that_it_did_not_bring() {
    let world = World::new("borrowed");
    let scratch = world.directory.path().join("stack/scratch/deep");
    let state = world.directory.path().join("state");
    let with_config = world_with_config(&world, None);
    let mut without = world_with_config(&world, None);
    Arc::make_mut(&mut without.deployment).stack.services[0].common.configs.clear();
    let (stays, goes) = (Stay::ForTheUnit, Stay::ForTheCommand);
    for spec in [&without, &with_config] {
        let borrow = |stay: Stay| lend(spec, stay).unwrap();
        let trials: [(&str, &dyn Fn()); 4] = [
            ("while the unit is up", &|| {
                create(spec).unwrap();
                borrow(goes).give_back().unwrap();
            }),
            ("after a plain `down`", &|| {
                create(spec).unwrap();
                remove(&state, &spec.unit, false).unwrap();
                borrow(goes).give_back().unwrap();
            }),
            ("after a command that leaves it", &|| {
                borrow(stays).give_back().unwrap();
                borrow(goes).give_back().unwrap();
            }),
            ("beside a command that leaves it", &|| {
                let (first, second) = (borrow(goes), borrow(stays));
                second.give_back().unwrap();
                first.give_back().unwrap();
            }),
        ];
        for (when, trial) in trials {
            trial();
            assert!(scratch.exists(), "{when}");
            remove(&state, &spec.unit, true).unwrap();
            assert!(!scratch.exists(), "{when}: it stays the unit's");
        }
        borrow(goes).give_back().unwrap();
        assert!(!scratch.exists() && !state.join("files/a.1").exists());
    }
}

#[test]
fn another_user_reads_its_files_and_owns_nothing_above_them() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let world = World::new("user");
    let mut spec = world_with_config(&world, None);
    let deployment = Arc::make_mut(&mut spec.deployment);
    deployment.stack.services[0].common.user = Some("65534:65534".to_owned());
    let state = deployment.places.state_dir.join("baistack/user");
    deployment.places.state_dir.clone_from(&state);
    fs::set_permissions(world.directory.path(), Permissions::from_mode(CLOSED)).unwrap();
    let message = create(&spec).unwrap_err().message;
    assert!(message.contains("is closed to it; set `XDG_STATE_HOME`"), "{message}");

    fs::set_permissions(world.directory.path(), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(world.directory.path().join("state"), Permissions::from_mode(0o755)).unwrap();
    create(&spec).unwrap();
    let own = state.join("files/a.1");
    let owner = |path: &str| fs::metadata(own.join(path)).unwrap().uid();
    assert_eq!([owner("config/c"), owner("config"), owner(""), owner(MADE)], [65534, 65534, 0, 0]);
    for above in own.ancestors().take(4) {
        assert_eq!(fs::metadata(above).unwrap().permissions().mode() & 0o777, PASSABLE, "{}", above.display());
    }
    let file = own.join("config/c").display().to_string();
    let cat = std::os::unix::process::CommandExt::uid(&mut std::process::Command::new("cat"), 65534).arg(file).output();
    assert_eq!(cat.unwrap().stdout, b"x");
}

#[test]
fn a_record_that_somebody_else_wrote_removes_nothing() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let world = World::new("forged");
    let spec = world_with_config(&world, None);
    create(&spec).unwrap();
    let state = world.directory.path().join("state");
    lchown(state.join("files/a.1").join(MADE), Some(65534), None).unwrap();
    remove(&state, &spec.unit, true).unwrap();
    assert!(world.directory.path().join("stack/scratch/deep").exists());
}

#[test]
fn the_scratch_of_all_units_is_what_was_made_for_them() {
    let world = World::new("all");
    let mut spec = world_with_config(&world, None);
    let stack = world.directory.path().join("stack");
    let service = &mut Arc::make_mut(&mut spec.deployment).stack.services[0];
    let crate::model::service::Kind::Process(process) = &mut service.kind else { panic!() };
    process.scratch = vec![stack.join("scratch").join(REPLICA_MARK), stack.join("before")];
    fs::create_dir(stack.join("before")).unwrap();
    for replica in [1, 2] {
        spec.unit.replica = replica;
        create(&spec).unwrap();
    }
    let state = world.directory.path().join("state");
    let made = ["1", "2"].map(|replica| stack.canonicalize().unwrap().join("scratch").join(replica));
    assert_eq!(scratch(&state, None), BTreeSet::from(made));
    remove_all(&state, &[]).unwrap();
    assert_eq!(scratch(&state, None), BTreeSet::new());
    assert!(!stack.join("scratch/2").exists() && stack.join("before").exists());
}

#[test]
fn the_scratch_of_a_directory_that_was_moved_is_found_where_it_is() {
    let world = World::new("moved");
    let spec = world_with_config(&world, Some("c.toml"));
    create(&spec).unwrap();
    let place = world.directory.path().canonicalize().unwrap();
    let state = place.join("state");
    fs::rename(place.join("stack"), place.join("renamed")).unwrap();
    assert_eq!(scratch(&state, None), BTreeSet::new());
    let moved = Moved { from: spec.deployment.stack.directory.clone(), to: place.join("renamed") };
    assert_eq!(scratch(&state, Some(&moved)), BTreeSet::from([place.join("renamed/scratch/deep")]));
    relocate(&state, &moved).unwrap();
    assert_eq!(scratch(&state, None), BTreeSet::from([place.join("renamed/scratch/deep")]));
    // Moved again before the next `up`, which would take note of it.
    fs::rename(place.join("renamed"), place.join("again")).unwrap();
    let moved = Moved { to: place.join("again"), ..moved };
    assert_eq!(scratch(&state, Some(&moved)), BTreeSet::from([place.join("again/scratch/deep")]));
    relocate(&state, &moved).unwrap();
    remove_all(&state, &[]).unwrap();
    assert!(!place.join("again/scratch/deep").exists() && fs::read_link(place.join("again/c.toml")).is_err());
}

#[test]
fn scratch_that_somebody_else_sees_to_is_not_removed() {
    let world = World::new("forgotten");
    let spec = world_with_config(&world, None);
    create(&spec).unwrap();
    let state = world.directory.path().join("state");
    forget_scratch(&state, &scratch(&state, None)).unwrap();
    remove(&state, &spec.unit, true).unwrap();
    assert!(world.directory.path().join("stack/scratch/deep").exists());
}

#[test]
fn a_directory_in_the_place_of_a_scratch_directory_is_somebody_elses() {
    let world = World::new("replaced");
    let spec = world_with_config(&world, None);
    let scratch = world.directory.path().join("stack/scratch/deep");
    create(&spec).unwrap();
    fs::rename(&scratch, world.directory.path().join("stack/away")).unwrap();
    fs::create_dir(&scratch).unwrap();
    fs::write(scratch.join("thesis"), "years of it").unwrap();
    let state = world.directory.path().join("state");
    assert_eq!(super::scratch(&state, None), BTreeSet::new());
    remove(&state, &spec.unit, true).unwrap();
    assert!(scratch.join("thesis").exists());
}

#[test]
fn our_places_bear_the_mark_of_their_environment_and_what_a_link_leads_to_does_not() {
    let world = World::new("marked");
    let mut spec = world_with_config(&world, None);
    let deployment = Arc::make_mut(&mut spec.deployment);
    let places = [deployment.places.env_dir.clone(), deployment.places.run_dir.clone()];
    let named = places.iter().map(|place| place.display().to_string()).enumerate();
    deployment.stack.services[0].common.environment.extend(named.map(|(nth, place)| (format!("P{nth}"), Some(place))));
    let elsewhere = world.directory.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, &places[0]).unwrap();
    create(&spec).unwrap();
    assert_eq!(places.each_ref().map(|place| owner::of(place)), [None, Some(spec.deployment.env.to_string())]);
    fs::remove_file(&places[0]).unwrap();
    create_places(&spec).unwrap();
    assert_eq!(owner::of(&places[0]), Some(spec.deployment.env.to_string()));
}

#[test]
fn a_scratch_directory_that_was_there_before_stays() {
    let world = World::new("scratch");
    let spec = world_with_config(&world, None);
    let scratch = world.directory.path().join("stack/scratch/deep");
    fs::create_dir_all(&scratch).unwrap();
    create(&spec).unwrap();
    remove(&world.directory.path().join("state"), &spec.unit, true).unwrap();
    assert!(scratch.exists());
}

#[test]
fn a_file_of_somebody_else_is_not_replaced() {
    let world = World::new("foreign");
    let spec = world_with_config(&world, Some("c.toml"));
    let path = world.directory.path().join("stack/c.toml");
    fs::write(&path, "mine").unwrap();
    let message = create(&spec).unwrap_err().message;
    assert!(message.ends_with("stack/c.toml`: something else is there"), "{message}");
    remove(&world.directory.path().join("state"), &spec.unit, true).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
}

#[test]
fn a_scratch_directory_outside_of_the_stack_stays() {
    let world = World::new("outside");
    let mut spec = world_with_config(&world, None);
    Arc::make_mut(&mut spec.deployment).stack.directory = world.directory.path().join("stack/inner");
    fs::create_dir_all(world.directory.path().join("stack/inner")).unwrap();
    create(&spec).unwrap();
    remove(&world.directory.path().join("state"), &spec.unit, true).unwrap();
    assert!(world.directory.path().join("stack/scratch/deep").exists());
}

#[test]
fn a_damaged_record_is_put_aside_and_one_that_cannot_be_read_is_not_replaced() {
    let world = World::new("damaged");
    let spec = world_with_config(&world, None);
    create(&spec).unwrap();
    let own = world.directory.path().join("state/files/a.1");
    let record = own.join(MADE);
    fs::write(&record, "{").unwrap();
    create(&spec).unwrap();
    assert_eq!(fs::read_to_string(own.join("made.json.damaged")).unwrap(), "{");
    // Whose the directory is that is there by now, nothing says any more.
    assert!(!record.exists());

    // Nobody can read a directory as a file.
    fs::create_dir(&record).unwrap();
    let refused = create(&spec).unwrap_err();
    assert!(refused.message.contains("made.json") && record.is_dir(), "{refused:?}");
}
