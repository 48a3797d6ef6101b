"""Several processes: process group, reductions, sharding (FSDP), failures.

- fsdp: --parallel fsdp
- nccl_watchdog: Ends NCCL operations that wait for a failed process
- processes: The process group of a run, values and losses of all processes, failures
- rank_log: stdout and stderr of processes other than rank 0
- rendezvous_id: An identifier of one start of the processes of a run
"""
