"""What Danlu's own modules, classes and functions were called before: records of earlier versions use those names.

A move within Danlu needs an entry in MODULES, a new name one in NAMES: utils.provenance.code_fingerprint compares the
hashes in a record with today's definitions under their earlier names too, so that a rename is no change. A moved
definition that another one leads to needs no entry. Imports no torch.
"""

from itertools import product


def _pairs(text):
    """Return a dict from a text of `key=value`, separated by blanks."""
    return dict(pair.split('=') for pair in text.split())


# Dotted name of a module, or of a single definition that left its module, then -> now.
MODULES = _pairs("""
    data.balance=data.checks.class_balance data.class_folder=data.lists.class_folder
    data.lists.class_folder.count_text=utils.base.text_table.count_text
    data.class_notes=data.checks.class_notes data.class_weights=data.checks.class_weights
    data.depth=data.lists.bit_depth data.duplicates=data.checks.duplicates data.files=data.lists.file_stats
    data.identity=data.checks.dataset_fingerprint data.in_memory=data.tensor_dataset data.labels=data.lists.labels
    data.list_format=data.lists.list_format data.listing=data.lists.list_file data.masks=data.lists.masks
    data.measure=data.checks.statistics data.overlap=data.checks.leakage data.packed_strings=data.lists.string_array
    data.picture_endings=data.lists.picture_extensions data.pictures=data.lists.pictures
    data.pixel_cache=data.cache.decode_cache data.pixel_file=data.cache.decode_cache_file
    data.pixel_key=data.cache.decode_cache_key data.plain_lines=data.lists.fast_list_parser
    data.sample_facts=data.checks.sample_facts data.sample_memory=data.cache.memory_check
    data.samplers.joined=data.samplers.join_batches data.shards=data.lists.shards
    data.skipping=data.lists.bad_samples data.split_argument=data.build_dataset
    data.stream.Place=data.stream.StreamSample data.string_hashes=data.lists.string_hashes
    data.survey=data.checks.preview data.table=data.lists.table data.targets=data.lists.targets
    data.val_split=data.lists.val_split loss.CrossEntropy=utils.losses.classification.CrossEntropy
    loss.Focal=utils.losses.classification.Focal loss_binary=utils.losses.binary
    loss_multilabel=utils.losses.multilabel loss_regions=utils.losses.region loss_values=utils.losses.regression
    metrics.ClassificationMetrics=utils.metrics.classification.ClassificationMetrics
    metrics.SegmentationMetrics=utils.metrics.segmentation.SegmentationMetrics
    metrics_multilabel=utils.metrics.multilabel metrics_values=utils.metrics.regression
    model.argument_ranges.whole=model.argument_ranges.integer utils.accumulation=utils.training.accumulation
    utils.advice=utils.training.advice utils.args_file=utils.options.args_file
    utils.arguments=utils.options.arguments utils.arguments.Group=utils.options.arguments.OptionGroup
    utils.attempt=utils.distributed.rendezvous_id utils.batches=utils.base.batches
    utils.chance=utils.statistics.significance utils.chance_of_ranks=utils.statistics.ranking_bootstrap
    utils.checkpoint=utils.runs.checkpoint utils.code_then=utils.provenance.recorded_code
    utils.colours=utils.drawing.colours utils.completion=utils.options.completion
    utils.components=utils.provenance.code_fingerprint utils.continuation=utils.training.continuation
    utils.csv_text=utils.base.csv_text utils.curves=utils.drawing.curves
    utils.definitions=utils.provenance.source_ast utils.divergence=utils.training.nonfinite_policy
    utils.drift=utils.provenance.checkpoint_check utils.dry_run=utils.training.dry_run utils.ema=utils.training.ema
    utils.ending_signals=utils.base.ending_signals utils.engine=utils.training.engine
    utils.environment=utils.provenance.environment utils.errors=utils.base.errors
    utils.event_files=utils.runs.event_files utils.failures=utils.training.error_hints
    utils.file_names=utils.base.file_names utils.final_table=utils.runs.results_table
    utils.fingerprint=utils.provenance.output_fingerprint utils.finite=utils.training.nonfinite_guard
    utils.first_steps=utils.provenance.replay_log utils.fit=utils.options.fit utils.fonts=utils.drawing.fonts
    utils.foreign_files=utils.runs.foreign_files utils.forked=utils.base.parallel_map
    utils.freeze=utils.training.freeze utils.given_parts=utils.options.given_parts
    utils.inert_objects=utils.runs.inert_objects utils.inspection=utils.training.nonfinite_report
    utils.interruption=utils.training.preemption utils.known_archives=utils.base.known_archives
    utils.launch=utils.base.rank_env utils.launch.Place=utils.base.rank_env.RankInfo
    utils.layer_decay=utils.training.layer_decay utils.layout=utils.base.text_table utils.ledger=utils.runs.ledger
    utils.library_names=utils.options.library_names utils.lock=utils.runs.lock
    utils.loss_options=utils.options.loss_options utils.lr_finder=utils.training.lr_finder
    utils.machine=utils.base.machine utils.matplotlib_import=utils.drawing.matplotlib_import
    utils.measures=utils.statistics.bootstrap_metrics utils.metric_options=utils.options.metric_options
    utils.model_source=utils.options.model_source utils.model_table=utils.training.model_table
    utils.notebook=utils.base.notebook utils.one_logit=utils.tasks.one_logit utils.optim=utils.training.optim
    utils.option_checks=utils.options.checks utils.option_defaults=utils.options.defaults
    utils.option_defaults.settle=utils.options.defaults.complete_defaults utils.option_needs=utils.options.needs
    utils.outputs=utils.evaluation.saved_outputs utils.override_checks=utils.training.override_checks
    utils.own_parsers=utils.options.own_parsers utils.palette=utils.options.palette
    utils.parts=utils.base.module_prefixes utils.past=utils.options.migrations
    utils.past.Options=utils.options.record_parser.Options
    utils.past.PastParser=utils.options.record_parser.MigratingParser
    utils.prediction_hint=utils.options.prediction_hint utils.predictions=utils.evaluation.predictions
    utils.preparation=utils.training.batch_transform utils.pretrained_config=utils.training.pretrained_config
    utils.processes=utils.distributed.processes utils.processes.joined=utils.distributed.processes.init_distributed
    utils.profiling=utils.training.profiler utils.progress=utils.base.progress
    utils.rank_log=utils.distributed.rank_log utils.ranking=utils.metrics.auroc_ap
    utils.reader=utils.provenance.symbol_resolver utils.ready_metrics=utils.metrics.ready_metrics
    utils.ready_parts=utils.training.ready_parts utils.ready_schedule=utils.training.ready_schedule
    utils.record=utils.provenance.record utils.record_schema=utils.base.record_schema
    utils.registry=utils.base.registry utils.regular_files=utils.base.regular_files
    utils.release=utils.distributed.nccl_watchdog utils.renames=utils.base.renames
    utils.repetition=utils.provenance.duplicate_run utils.report=utils.training.run_messages
    utils.report_page=utils.html_report utils.report_page.figures=utils.html_report.svg_plots
    utils.report_page.intervals=utils.html_report.intervals utils.report_page.kinds=utils.html_report.task_reports
    utils.report_page.matrix=utils.html_report.confusion_matrix
    utils.report_page.of_classes=utils.html_report.class_sections
    utils.report_page.of_numbers=utils.html_report.regression_sections
    utils.report_page.of_pictures=utils.html_report.image_sections utils.report_page.page=utils.html_report.page
    utils.report_page.pictures=utils.html_report.sample_images
    utils.report_page.rows=utils.html_report.predictions_table
    utils.report_page.scores=utils.html_report.score_histograms
    utils.report_page.sections=utils.html_report.sections utils.result_directory=utils.runs.result_directory
    utils.resumption=utils.training.resume utils.roots=utils.provenance.entry_points
    utils.run_copy=utils.training.run_copy utils.run_directory=utils.runs.run_directory
    utils.scatter=utils.drawing.scatter utils.seeding=utils.base.seeding
    utils.selection=utils.training.checkpoint_selector utils.sharding=utils.distributed.fsdp
    utils.sharding.whole=utils.distributed.fsdp.full_tensors utils.sheet=utils.drawing.sample_grid
    utils.source=utils.provenance.project_source utils.speed=utils.training.precision utils.ssim=utils.metrics.ssim
    utils.startup=utils.base.process_setup utils.state_dicts=utils.runs.state_dicts
    utils.step_log=utils.runs.step_log utils.streams=utils.base.streams utils.summaries=utils.runs.summaries
    utils.synonyms=utils.base.synonyms utils.target_scale=utils.tasks.target_scale
    utils.target_scale.settle=utils.tasks.target_scale.complete_target_scale utils.targets=utils.tasks.targets
    utils.tasks=utils.tasks.tasks utils.tasks.tasks.Task=utils.tasks.task.Task utils.tensorboard=utils.runs.tensorboard
    utils.terminal=utils.base.terminal
    utils.unpacking=utils.provenance.source_archive utils.update=utils.training.optimizer_step
    utils.validation_options=utils.options.validation_options utils.witness=utils.provenance.resume_check
    utils.write_errors=utils.base.write_errors utils.writer=utils.runs.async_writer
""")
# Name of a class, function, method, attribute or parameter, or of a module that is imported by `from utils import ...`,
# now -> then. Other code must not use a name of now for something else.
NAMES = _pairs("""
    _absent_classes=_absent _add_compound=_take_compound _add_import=_take_import _add_reference=_note
    _add_statement=_take _append_to_ledger=_enter _as_sequence=_several _batches=_cut _BatchMean=_PerBatch
    _begin_part=_enter _best_weights_hint=_what_is_left _bincount=_counted _bound_names=_bound_by
    _build_checked=_built _build_sized=_sized _bytes_of=_content _bytes_to_keep=_kept _cannot_write=_cannot
    _check_exists=_check_there _check_jpeg_end=_refuse_without_end _check_png_checksums=_refuse_wrong_sums
    _check_same_size=_checked_fit _check_tensor_types=_check_plain _checked_array=_loaded
    _checked_positions=_looked_at _class_codes=_groups _class_methods=_methods _colour_codes=_codes
    _column_positions=_places _compare_step=_compared _compute_fingerprint=_take _container_type=_kind_of
    _count_outputs=_outputs_of _count_parameters=_counted _count_within=_within _create=_make
    _create_directory=_make _creation_note=_made _damage_error=_damaged _dataset_loader=_loader_of_set
    _decode=_loaded _definition_site=_place _definition_texts=_texts _describe_run=_describe _draft_size=_drafted
    _draw_images=_drawn_pictures _environment_changes=_surroundings _ErrorKeepingFile=_ErrorKept
    _existing_gradients=_present _exit_with_parent=_leave_with _exit_worker=_leave _fields_text=_found
    _file_exists=_there _file_hash=_whole _files_to_compare=_part _find_change=_compare _first_array=_one_of
    _first_match=_first_equal _first_position=_first _first_repetition=_first _fit_to_options=_fitted
    _flag_nonfinite=_look _from_files=_decoded _from_first_bytes=_by_first_bytes _from_memory=_gathered
    _from_threads=_by_threads _from_zip_entries=_by_entries _group_buffers=_sort_buffers _handlers=_own
    _has_bytes=_has _has_no_effect=_says_nothing _history_values=_rows _holds_exactly=_holds
    _identity_value=_essence _if_valid_name=_named_right _image_layout=_layout _images_are=_counted
    _import_root=_start_of _in_main_process=_made_here _init_momentum=_begin_momentum _innermost_dataset=_innermost
    _is_archivable=_is_plain _is_current_file=_is_there _is_environment_or_run=_is_no_source
    _is_ignored=_is_plumbing _is_in=_are_in _is_library_model=_of_library _is_same_file=_is _keep_alive=_of
    _LAST_DESCRIBED=_DESCRIBED _last_part=_last _layer_row=_row_of _layers_of_another_shape=_parts_of_another_shape
    _legacy_record=_record_from _linspace=_even _literal_dict=_literal _load_state=_take_up
    _load_weights_only=_weights_beside_objects _loader_generators=_generators_of _loader_parts=_parts_of
    _local_name=_plain _local_names=_names_of _locate=_place _location=_place _mask_notes=_of_masks
    _mask_values_hint=_remedy _match_shapes=_compared _memory_remedy=_remedy _merge_strings=_merged
    _MetricObject=_Object _middle_block_hash=_middle _missing_note=_missing _model_changes=_code
    _module_level_of=_run_with _move_into_place=_take_places _named_array=_array _named_batch=batch
    _names_in_file=_names_in _new_archive_name=_new_name _next_step_batches=_coming_together _no_collate=_as_it_is
    _note_lines=_calm _on_meta=_empty _on_signal=_notice _OPEN_LISTINGS=_IN_USE _option_changes=_options
    _option_text=_words _oriented_size=_size_turned _output_layers=_outputs _output_shape=_shape_of _pair_text=_both
    _palette_flags=_palette_surprises _parameter_names=_parameters _parse_json=_parsed _partial_path=_partial
    _pixel_counts=_pixels _prefetch_one=_one_ahead _preview=_first _raise_if_strict=_refuse _raise_signal=_end_by
    _raised_in_network=_in_network _random_integers=_numbers_below _rates_by_group=_of_each_group
    _raw_tensors=_source _read_noted_steps=_noted _readable_extensions=_readable _ready_metric_values=_ready_values
    _relevant_statements=_counting _replace_layers=_replace _replace_run_id=_rename_run _requested_memory=_asked
    _rows_to_depth=_down_to _sample_count=_counted _sampled_image_paths=_some_pictures _scale_gradients=_multiply
    _select_probe=_choose _set_gradients=_put _shape_text=_size _share_text=_counted _shared_zeros=_shared
    _short_count=_short _sibling_name=_sibling _silence_event_thread=_be_silent_in_thread _single_channel=_grey
    _source_names=_sources _split_name=_place _start_worker=_start _stat=_look_up
    _state_copies=_copies _step_on_by_class=_by_class _steps_by_part=_followed _steps_due=_is_turn
    _stored_orientation=_turn_in_file _sum_gradients=_sum_of _synchronize=_wait_for _table_lines=_drawn
    _tensors_only=_plain _text_lines=_lines _text_to_hash=_text_of _time_due=_is_time _timm_config=_of_timm
    _to_device=_copied _torchvision_config=_of_torchvision _tracking_norms=_norms _transformed=_finished
    _try_on_meta=_try _try_to_lock=_try _unambiguous_prefix=_only_best _unfinished_state=_unfinished
    _unpack_into_cache=_in_cache _value_counts=_counter _values_hint=_remedy _visit=_enters _whole_steps=_as_a_whole
    _WholeSetFunction=_Whole _with_equal_keys=_agreeing _with_name=_naming _with_path=_naming _with_run_id=_named
    _wrap_methods=_wrapped _write_canonical=_write _write_directory=_write ABANDONED_SECONDS=ABANDONED
    accumulates_by_part=sums_apart accumulation_state=waiting_state add_flags=mark after_step=after
    all_gather=gathered all_reduce_evaluation=together all_reduce_loss=overall_loss all_reduce_metrics=overall
    AllReduceSum=_Overall alternatives_to=instead_of ALWAYS_HANDLED_SIGNALS=ALWAYS AMP_DTYPES=DTYPES
    apply_colour_operation=changed apply_speed_options=speed_up ARCHIVE_NAME=ARCHIVE as_write_error=_told
    AsyncFlagReduce=Agreement atomic_results=whole_results atomic_writer=replacing AVERAGE_COUNTER=COUNTER
    average_precision_by_class=precision_by_class average_tensors=average AVERAGED_KEY=AVERAGED
    BATCH_COUNTER=TRACKED BATCH_LENGTH=PARTS batch_number=number batch_numbers=numbers batches_left=left
    BatchTransform=Preparation before_step=before best_epoch_of=best_of BINARY_CLASSES=TWO bind_transform=serve
    bind_transforms=take_from bits_measured_in=measured blend_with_previous=blended BLOCK_PIXELS=BLOCK
    bootstrap_intervals=intervals breakdown_lines=table broadcast_buffers=same_buffers
    broadcast_from_rank0=from_first buffer_groups=groups buffer_pointers=pointers buffer_refs=places
    build_deferred=build_waiting BUILD_OPTIONS=READ_ONCE BUILT_IN_FORMATS=OWN_FORMATS built_with=built_by
    BUNDLED_FONT=OWN by_present_class=_each CACHE_FORMAT=FORMAT can_be_saved=_can_be_saved can_check=can_tell
    catch_signals=watching CAUSE_KEY=CAUSE CAUSE_TIMEOUT=WORD cell_to_float=number check_complete=check_told
    check_float_targets=check_alike check_pending=settle check_preemption=pause check_prefixes=check_parts
    check_process_count=refuse_many check_reloaded=check_saved check_same_data=take_data CHECK_SECONDS=EVERY
    checked_metric_name=_checked_name CheckpointCheck=Drift CheckpointSelector=Selection
    checks_all_files=looks_for_all choose_speed_options=choose_fast class_or_function=kind_or_function
    clip_gradients=clip close_afterwards=closing_by code_provenance=made_by CODE_VARIABLE=TOLD
    collate_samples=batch_of COLOUR_COUNT=COLOURS COLOUR_MODE_16_BIT=COLOUR colours_for=colours_of
    compare_outputs=asked_again compare_speed=compare comparison_table=side_by_side complete_defaults=settle
    complete_target_scale=settle COMPRESSED_EXTENSIONS=PACKED concat_fields=joined concat_pass=_joined
    continue_record=take_up CONTINUED_FILE=CONTINUED COPIED_DIRECTORIES=KEPT_DIRECTORIES COPIED_FILES=KEPT
    CORE_PACKAGES=VERSIONS count_batch_samples=size_of count_dropped_samples=samples_left_out
    count_intervals=intervals_of_kinds count_loader_samples=samples_of count_text=counted
    count_warmup_steps=warm_up_steps crop_functions=choosers crop_step=cut crops_while_decoding=cuts_parts
    DAMAGE_ERRORS=DAMAGE DAMAGED_FILE=DAMAGED DATA_DIRECTORY_ENTRIES=CROWDED data_fingerprint=identity_of_data
    DATA_OF_SPLIT=SPLITS DECODE_ERRORS=DAMAGE decode_strings=texts_of DECODING_SOURCES=SOURCES DEFAULT_GAMMAS=GAMMAS
    default_metric_name=_own_name deferred_build=waiting_for_data definition_name=name_of describe_changes=describe
    describe_foreign_file=what_else describe_location=place describe_target_scale=described_scale
    device_description=device differs_in_names_only=differs_in_names_alone DIGITS_FILE=FILE DistContext=Group
    DIVERGENCE_FACTOR=TOO_MUCH draw_counts=draws draw_missing_curves=draw_missing draw_probabilities=shares
    draw_sample_grid=draw_sheet draw_validation=draw drawing_budgets=drawing drawn_samples=first_of
    DRAWS_IN_MEMORY=AT_ONCE drop_bad_samples=leave_out_bad EIGHT_BIT_EXTENSIONS=NEVER_DEEP
    ELEMENTWISE_LOSSES=ELEMENTWISE empty_block=empty ENDING_SIGNALS=ENDING ENGINE_METHODS=EVALUATING
    ENHANCEMENTS=ENHANCING ENVIRONMENT_VARIABLES=VARIABLES epoch_length=counted EPOCH_SCHEDULERS=BY_EPOCH
    EQUAL_CHANNELS=THREE_EQUAL error_reason=reason_of error_remedy=remedy_of ErrorCollector=Faults
    escape_cell=cell_of escape_row=cells_of eval_weights=for_testing EvaluationInterrupted=Interrupted
    EVENT_DIRECTORIES=BELOW EVENT_PATTERN=PATTERN EXCLUDED_DIRECTORIES=NO_SOURCES
    explain_construction_errors=explained_construction explain_machine_errors=explained
    explain_state_errors=refusing_changed explain_write_errors=writing_into extension_counts_text=endings_in
    EXTENSIONS_BY_FORMAT=ENDINGS_BY_FORMAT external_imports=outside EXTERNAL_MARK=ELSEWHERE failure_lines=loud
    failure_reason=reason_of failures_in_a_row=in_a_row FALSE_ON_IMPORT=NEVER_RUN FEATURE_ARRAYS=FEATURES
    FEATURE_DIMENSIONS=FEATURES FILE_ID=FILE file_of_definition=path_of FILE_SIZE=SIZE FileSpan=Span
    find_archive=archive_of find_changed_files=changed_files find_changes=changed find_code_changes=changes_of
    find_entry_points=roots_of find_evaluation_changes=changed_evaluation find_known_run=origin_of
    find_module=file_of find_speed_options=find_fast find_split_lists=lists_of first_fitting_crop=first_that_fits
    first_unlabelled=alone FIT_EFFECTS=FITTED flag_reduce=agreement flatten_one_logit=flattened
    FLOAT32_BYTES=FLOAT32 for_all_in_processes=look_at for_all_in_threads=for_all FORBIDDEN_CHARACTERS=ODD
    FORMAT_LINES=FIRST_LINES FORMULA_SIGNS=SIGNS forward_signals=passing_signals_to full_name=name_in
    full_tensors=whole GeneratorLoader=CalledEachEpoch GEOMETRIC_OPERATIONS=MOVING GIT_LOCATION_VARIABLES=MISLEADING
    GIT_TIMEOUT_SECONDS=PATIENCE good_indices=others gpu_wait=lag GRACE_SECONDS=GRACE gradient_sync=joining
    gradients_are_finite=gradients_pass group_of_part=alike GroupCosineLR=SharedCosineLR guard_batches=guarded
    HALF_BITS=HALF handle_nonfinite=meet handle_signals=handling has_16_bits=is_deep has_described_run=described
    has_stepped=stepped has_weight_matrix=has_weight hash_components=components_of HASH_DIGITS=DIGITS
    HASH_MULTIPLIER=FACTOR hash_named=marked HEADER_BYTES=HEADER IDENTITY_KEYS=ESSENCE
    ignore_group_signals=leave_to_parent IGNORED_FIELDS=LEFT_OUT IGNORED_MODULES=PLUMBING ignored_modules=plumbing
    IMAGE_COLUMN_NAMES=IMAGE_NAMES IMAGE_EXTENSIONS=PICTURE_ENDINGS image_quality=picture_quality IMAGENET_MEAN=MEAN
    IMAGENET_STD=STD images_and_targets=pair_of images_beside_classes=beside IMAGES_PER_TASK=CHUNK
    images_written=shown IMMEDIATE_SIGNALS=AT_ONCE INCLUDED_HIDDEN=HIDDEN_KEPT INDEX_COLUMN_NAMES=INDEX_NAMES
    init_distributed=joined install_part=put_in_place integer=whole interactive_definitions=typed_in
    INTERRUPT_GRACE_SECONDS=PATIENCE interval_steps=every is_16_bit=is_deep is_16_bit_grey=is_deep_grey
    is_display_due=to_show is_finite=passes is_in_any_module=lies_in is_in_module=begins is_layer_list=is_list
    is_machine_error=of_the_machine is_notebook_process=is_of_notebook is_padding=stands_in is_pending=waiting
    is_profile_due=to_profile is_registry_entry=is_entry is_rolled_back=fresh is_save_due=due
    is_stateful_metric=is_object is_stopped=broken is_synchronous=waits IS_TRAIN_PARAMETERS=BOOLS
    is_unchanged=goes_on iso_timestamp=now iterate_tensors=tensors_in join_batches=joined kept_batches=held
    KILLED_MESSAGE=SILENT LABEL_COUNT=LABELS LABEL_EXTENSIONS=LABEL_ENDINGS label_sets_of=sets_of
    LARGE_IMAGE_PIXELS=LARGE labels_with_margins=_labels_with_margins last_batch_size=last_size LATENT_SIZE=NOISE
    LAYER_CONTAINERS=LISTS
    layer_lr_shares=layer_shares layer_lr_table=layer_table layer_modules=blocks_of layer_numbers=layers_of
    LayerRow=Row LEDGER_FILE=FILE length_or_none=length_of lines_before=before
    load_accumulation_state=load_waiting_state load_best_weights=take_best_weights load_rank_state=take_own
    load_selected_weights=load_chosen load_without_classes=read_inertly loader_rng_state=rng_state_with
    local_shard=local lock_holder=holder LockedError=Held LOG_TAIL_BYTES=TAIL loss_groups=parts_counted_alike
    LOSS_SMOOTHING=SMOOTH LOSS_TOLERANCE=CLOSE lost_batches=lost LOWER_IS_BETTER=LESS_IS_BETTER
    lower_is_better=less_is_better LUMINANCE_WEIGHTS=GREY MACHINE_ERRNOS=OF_THE_MACHINE machine_error_hint=explain
    MAGNITUDE_BINS=BINS make_directory_below=made_below mark_saved=saved MASK_EXTENSIONS=MASK_ENDINGS
    mask_flags=surprises mask_loss=passing MASKS_PER_BLOCK=BLOCK match_names=with_names_of
    match_net_dtype=as_net_takes MAX_ARCHIVE_BYTES=MOST_BYTES MAX_ARCHIVE_FILES=MOST_FILES
    MAX_BATCHES_PER_BLOCK=MOST_BATCHES MAX_BITS=FULL MAX_CAPTION_LINES=LINES MAX_CHANGED_PATHS=MANY
    MAX_CHECKED_SAMPLES=MOST MAX_CLASS_ROWS=FEW MAX_CLASSES_SHOWN=SHOWN MAX_COLUMN_CHARS=WIDTHS max_count=most
    MAX_COUNTED_MASKS=COUNTED MAX_CROP_TRIES=TRIES MAX_DECODED_IMAGES=MOST_PICTURES MAX_DEFAULT_WORKERS=MOST_WORKERS
    MAX_DIFF_LINES=MOST_LINES MAX_DRAWN_SCORES=DRAWS MAX_DRAWS=DRAWS MAX_ENTRIES=MOST_ENTRIES MAX_ERRORS_SHOWN=SHOWN
    MAX_EXTENSIONS_SHOWN=SHOWN MAX_FAILURES_IN_A_ROW=IN_A_ROW MAX_FILE_BYTES=LARGEST_FILE MAX_FLOAT32=LARGEST
    MAX_FULL_LEGEND=FEW MAX_GRID_PIXELS=MOST MAX_GUESSED_SIDE=LARGEST_GUESS MAX_HASHED_BYTES=MOST_IN_MEMORY
    MAX_HEADERS=HEADERS MAX_LAYER_ROWS=ROWS MAX_LEVEL=LEVELS MAX_LINE_CHARS=MAX_LINE MAX_LONG_SIDE=LONG_SIDE
    MAX_LOSS_CHANGE=CLOSE MAX_MASKS=MOST_MASKS MAX_NAMES_SHOWN=SHOWN MAX_NESTING=DEPTH MAX_NOISE_VALUES=MOST_NOISE
    MAX_OPEN_FILES=MOST MAX_OPENED_FILES=MOST_FILES MAX_OWNER_CHARACTERS=MAX_OWNER MAX_PARAMETERS_SHOWN=SHOWN_NAMES
    MAX_PENDING_STEPS=AHEAD MAX_PROBE_VALUES=MOST_INPUTS MAX_PROCESSES=MOST_PARALLEL
    MAX_PROCESSES_PER_CORE=PARALLEL_PER_CORE MAX_PROFILED_STEPS=LONG MAX_RANKED_SCORES=MOST
    MAX_READ_BYTES=MOST_BYTES MAX_ROLLBACKS=GO_BACK MAX_SCATTER_TARGETS=MOST MAX_SHEET_PIXELS=MOST
    MAX_STORED_VALUES=KEPT MAX_TABLE_BYTES=MOST_BYTES MAX_TEXT_BYTES=LARGEST MAX_TEXTS_OF_ONE_KIND=MANY_TEXTS
    MAX_TIMED_ROUNDS=ROUNDS MAX_TIMED_SECONDS=SECONDS MAX_TRAINING_LINES=MOST_LINES MAX_TRIED_LR=HIGHEST
    MAX_UNNAMED_BYTES=LARGEST_UNNAMED MAX_VALUES_PER_TENSOR=VALUES MAX_VALUES_SHOWN=SHOWN
    MAX_WAITING_BATCHES=BATCHES MAX_WAITING_NUMBERS=BLOCK MAX_WORD_CHARS=MAX_SHOWN may_return=may_give
    may_wait_for_data=waits_for_data merge_16_bit_values=fold METRIC_BUILDERS=MADE metric_sources=given
    metrics_by_name=named MIDDLE_BLOCK_BYTES=BLOCK MigratingParser=PastParser MIN_CELL_COLUMNS=LEAST
    MIN_CROP_SHARE=SMALLEST_SHARE MIN_DECODE_SECONDS=WORTH_A_THREAD MIN_FREE_BYTES=ENOUGH_BYTES
    MIN_FREE_INODES=FREED_INODES MIN_GRADIENT_SCALE=LEAST_SCALE MIN_MASKS=MASKS min_median_max_sizes=three_sizes
    MIN_RANKING_RESAMPLES=LEAST MIN_RESAMPLES=LEAST MIN_SAMPLES_FOR_PROCESSES=MANY MIN_SHARDED_PARAMETERS=LEAST
    MIN_SHORT_SIDE=SHORT_SIDE MIN_SIDE=SMALLEST MIN_SINGLE_SAMPLE_CLASSES=MIN_CLASSES_OF_FEW MIN_SPEEDUP=WORTH
    MIN_TRIED_LR=LOWEST missing_batch_counters=as_old_batch_norms missing_characters=lacking MISSING_FILE=ABSENT
    MIXING_KEY=MIXING mixing_methods=ways MODIFIED_NS=TIME modules_text=parts MOMENT_COUNT=MOMENTS
    move_if_fits=hold_on move_log_into=put_log_into move_tensors=_moved NAME_SUFFIXES=ENDINGS
    named_tensors=tensors_in names_today=_names_of_today nan_notes=note_of_nan NcclWatchdog=Release
    nested_to_device=moved NETWORK_OPTIONS=BUILT_BY newest_readable=newest_whole next_steps=advice
    NO_LOCK_ERRORS=UNKNOWN NO_SAMPLE=NONE NOISE_STD=NOISE NON_ENDING_SIGNALS=NOT_ENDING NON_MODEL_KEY=OTHER
    NON_RUN_DIRECTORIES=NOT_RUN NONFINITE_FILE=FILE nonfinite_gradients=bad_gradients nonfinite_positions=not_finite
    NonFiniteError=Diverged NonFiniteGuard=Guard NonFinitePolicy=Divergence normalised_name=bare
    normalize_ast=normalised note_lines=calm note_part=add note_parts=take NotebookReport=PageInCell
    NOTES_BY_FLAG=SURPRISES numpy_state_values=_listed on_new_run=begin on_resume=check_resume
    ONLY_IMAGE_TURNED=TURNED_ALONE open_archive=archive_of OPEN_FILES=READING open_process_groups=_open
    open_walks=reached OpenFiles=Reading operation_matrix=sources optimizer_notes=notes_on_optimizer
    OptimizerStep=Update option_and_value=split_part OPTIONAL_CODECS=CODECS OPTIONAL_FACTS=MEASURED
    OptionKeywords=Dated OPTIONS_OF_KIND=CHOSEN_BY original_command=command OUTLIER_FACTOR=FAR
    outlier_limits=_cut_off output_difference=deviation OUTPUT_DIRECTORIES=OUTPUTS output_status=status_of_output
    OUTPUT_TOLERANCE=SAME OutputFingerprinter=Fingerprints own_signal=noticed own_signal_time=noticed_at
    PACKAGE_DIRECTORIES=INSTALLED pad_cell=padded padding_batches=stand_ins parallel_call=call_forked
    parameter_count=count ParsedModule=Module PART_CHANGES=PARTS part_gradients=kept path_exists=exists
    PAUSE_SECONDS=PAUSE pending=waiting pending_checks=waiting percentile_bounds=bounds_of plain_batch=plain
    plain_state=plain plan_steps=plan plot_losses=draw PLUGIN_FORMATS=PLUGINS position_text=place_line
    PositionTrackingFile=Positioned predictable_values=known_values Preemption=Interruption PREFETCHED_BATCHES=AHEAD
    prefix_hint=hint_of_prefix preserve_state=undisturbed pretrained_config_of=config_of_weights
    pretrained_notes=note_of_weights PROBABILITY=SHARE probe_noise=noise probe_outputs=answers PROBE_SAMPLES=SAMPLES
    PROBED_SAMPLES=PROBED PROCESS_TIMEOUT=PATIENCE PROGRAM_MODULES=STARTING PROGRESS_LINES=LINE queue_check=note
    QUEUED_CHUNKS_PER_PROCESS=WAITING raise_for_signal=stop raise_on_signals=raising raise_pending=raise_late
    random_crops=parts random_positions=drawn random_rectangles=rectangles RandomResizedCrop=Part
    rank0_first=first_alone rank_and_count=place rank_env=launch rank_info=place rank_info_of=place_of
    rank_part=part_of rank_states=own_of_each RANK_VARIABLES=NEEDED RankedScores=Ranked RankInfo=Place
    ranking_intervals=intervals_of_ranks reachable_from=all_from read_16_bit_grey=read_deep READ_BYTES=READ
    read_largest_value=read_largest read_replay_log=read_first_steps read_result_values=read_values
    read_resume_state=read_state rebuild_batch=batch_again rebuild_optimizer_step=rebuild_update
    recompute=done_again record_differences=differences RECORD_HEAD_BYTES=HEAD
    recorded_code_arguments=words_for_then recover_partial=tidy_up reduce_state=own_share reduced_state=share_in
    refs=places refuse_non_geometric=refuse_changing RegionLoss=Regions register_parts=note_given
    REGISTRY_ENTRY=ENTRY remaining_batches=batches_from RemainingBatches=Rest remember_build=note_plan
    rename_damaged=set_aside RENAME_HINT=RENAME rename_value=renamed rendezvous_id=name_of_attempt
    repeat_batches=endless repeat_command=again REPEATED_SIGNAL_SECONDS=ECHO RepeatedIndices=Draws
    replace_backslashes=with_slashes replace_nonfinite=finite REPLACING_ERRORS=LENIENT REPLAY_FILE=FILE
    REPLAY_STEPS=COUNT ReplayLog=FirstSteps REPORT_DRAWS=QUICK_DRAWS report_nonfinite=inspect REPORT_RESAMPLES=QUICK
    resolve_import=imported resolve_step_on=step_on_of resolve_val_split=settle_val_split
    RESTARTED_VARIABLE=STARTED_ANEW restore_buffers=restore restore_position=catch_up restore_sums=take_up_sums
    restore_trainer=restore RESULT_KINDS=FOR_RESULT RESUMABLE_FILES=RESUMABLE resized=_resized
    resume_command=how_to_resume
    ResumeCheck=Witness resumed_from=begun resumed_options=_resumed rewrite=renew rewrite_record=renew_record
    roll_back=go_back rollbacks=gone_back rounding_notes=_coarse ROWS_PER_BLOCK=ROWS run_conditions=conditions
    run_facts=facts_of run_forwarding=run_process run_summary=result_of RunFacts=Facts RunIndex=Shelf
    runs_of_experiment=runs_of sample_values=values_of SAMPLED_CHECKS=DRAWN SampleRefs=Places
    SAMPLES_PER_BLOCK=BLOCK SAMPLES_PER_CHUNK=CHUNK save_and_describe=inspected save_buffers=keep_buffers
    save_diverged=written save_requested=asked saved_buffers=before saved_position=saved schedule_value=value_for
    scheduler_notes=note_on_scheduler SCOPES=OWN_SCOPE select_preemption=select_interruption
    select_sum_metric=select_measure select_value_column=watched_by selector_from_options=select_monitor
    SELECTOR_OPTIONS=FOLLOWED set_loader_rng_state=set_rng_state_with shard_like=like shard_samples=places
    SHARD_TYPES=SHARDS SharedPreemption=SharedInterruption shorten_names=few shorten_text=brief
    SIDE_SWAPPING_ORIENTATIONS=SIDEWAYS signal_name=name_of SIGNED_OPERATIONS=SIGNED SIGNIFICANCE_LEVEL=LEVEL
    SIGPIPE_STATUS=PIPE_CLOSED similarity=alike SIXTEEN_BIT=DEEP size_is_guessed=guessed SIZE_OPTIONS=SIZES
    size_options_text=described skipped_batches=left_out SKIPPED_FILE=FILE SkippedSamples=Skipped
    skips_nonfinite=leaves_out SLOPE_WINDOW_STEPS=WIDTH SMALL_IMAGE_PIXELS=SMALL smooth_3x3=blurred
    source_and_target_box=_boxes source_box=source source_lines=source_of source_location=place_of
    source_object=origin SPACE_BYTE=BLANK
    split_by_font=runs split_columns=parted SPLIT_KEY=KEY split_options=parts_of SPLIT_PARAMETERS=WORDS
    SPLIT_PARTS=PARTS split_plain_lines=plain_columns stale_owner=stale START_FILES=AT_START STAT_COLUMNS=FACTS
    stat_files=look_up STATE_SUFFIXES=SAID_OF STATUS_FIELDS=FIELDS stdout_is_closed=is_alone step_batches=together
    STEP_PARTS=PARTS STEP_SCHEDULERS=BY_STEP StepProfiler=Profile steps_taken=taken steps_text=counted
    stop_reason=why_stop stored_probe=kept_probe STORED_VALUES=STORED stream_samples=places_of StreamSample=Place
    StringArray=PackedStrings StringArrayBuilder=Packer STRINGS_PER_BLOCK=BLOCK
    strip_wrapper_prefixes=without_wrappers subsample=sampled subset_of=part sum_fields=added
    summarise_checks=keep_facts summarize_output=told SumMetric=Measure SUPPORTED_FORMATS=ONLY
    suppress_cleanup_errors=after SymbolResolver=Reader sync_signals=agree TARGET_ARRAYS=TARGETS target_box=place
    TARGET_COLUMN_NAMES=TARGET_NAMES target_column_names=targets_of target_field=target_of TARGET_FIELDS=FIELDS
    target_noun=wanted TASK_REPORTS=KINDS TaskReport=Kind TERMINAL_SIGNALS=FROM_TERMINAL TEST_KEYS=FOR_TESTING
    test_with_recorded_code=test_then time_budget=allowance TIME_SHARE=SHARE time_was_sent=told_before
    TimeBudget=Allowance TimedNetwork=Variant to_eight_bits=eight_bits to_nfc=same_form todays_name=name_now
    top_epochs=top TORCH_LOSS_MODULE=TORCH_LOSSES total_columns=_whole TRACE_FILE=TRACE TRACKED_FILE=ANCHOR
    TRAILING_BYTES=REST train_and_val=parts_of trained_parameters=learned training_class_counts=counts_of
    training_sums=sums TRANSPOSE_BY_ORIENTATION=TURNS TRIED_LR_COUNT=STEPS truncate_cell=shortened
    try_learning_rates=try_rates TwoBatches=Few unconfirmed_batches=open_batches unescape_cell=text_of
    unicode_form_hint=form_hint unpack_cached=unpacked unreadable_files=unread unsharded_class=kind_of
    UNSUPPORTED_ARGUMENTS=UNFIT UNSUPPORTED_OPTIONS=REFUSED UNSUPPORTED_WHEN_SHARDED=UNFIT_IN_SHARDS
    unused_option_notes=notes_on_replaced unwrap_model=unwrapped update_best=take update_digest=identify
    use_one_output=settle_one_output uses_processes=forks uses_threads=threads_pay USUAL_KEYS=USUAL
    value_before=before_of value_column=watched VALUE_COUNT=VALUES VALUE_METHODS=RECORDING values_16_bit=deep
    waiting_batches=waiting WARMUP_START_FACTOR=START warp_nearest=moved was_called=ran weighs_equally=counts_alike
    WeightsOnly=WeightsAlone why_impossible=why_not with_fresh_stats=anew with_location=located
    with_margins=_with_margins with_profiler=watched without_lists=_without_lists without_zero_width=telling
    WITNESS_FILE=FILE WORD_BYTES=WORD WORD_PATTERN=WORDS
    WORKER_EXIT_ERRORS=GONE WORKER_KILLED_PATTERN=KILLED WORKER_STATE=STATE wrap_metric=_part
    wrap_write_errors=writing WRONG_TYPE_ERRORS=OF_ITS_PLACE zip_bytes=packed zip_entries=archived
    ZIP_EPOCH=EARLIEST
""")


class CurrentNames:
    """Gives the names that definitions of an earlier version may have now."""

    def __init__(self):
        self.modules, self.identifiers = set(MODULES.values()), {}
        for now, then in NAMES.items():
            self.identifiers.setdefault(then, []).append(now)

    def of(self, dotted):
        """Return the names (list of str) that a definition (str, dotted) of an earlier version may have now.

        There are several where an identifier of NAMES was the name of several definitions; the renamed ones come first.
        """
        parts = dotted.split('.')
        module, rest = [], parts
        for length in range(len(parts), 0, -1):
            name = '.'.join(parts[:length])
            if name in self.modules or name in MODULES:  # the first: utils.tasks was a module and is a package
                module, rest = [name if name in self.modules else MODULES[name]], parts[length:]
                break
        choices = ([*self.identifiers.get(part, []), part] for part in rest)
        return ['.'.join([*module, *names]) for names in product(*choices)]


class EarlierNames:
    """Gives the names of today's code in an earlier version, for the text that is hashed."""

    def __init__(self):
        self.dotted = {now: then for then, now in MODULES.items()}

    def identifier(self, name):
        """Return what an identifier (str) was called."""
        return NAMES.get(name, name)

    def name(self, dotted):
        """Return what a module or definition (str, dotted) was called."""
        parts = dotted.split('.')
        for length in range(len(parts), 0, -1):
            module = '.'.join(parts[:length])
            if module in self.dotted:
                return '.'.join([self.dotted[module], *map(self.identifier, parts[length:])])
        return '.'.join(map(self.identifier, parts))
