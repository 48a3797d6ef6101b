"""Several processes: process group, rank environment, sharding (FSDP), failures.

- fsdp: --parallel fsdp
- nccl_watchdog: Frees a process that waits on a GPU for another one, which has failed
- processes: The processes of one run, as torchrun starts them
- rank_log: What processes that are not the first have to say
- rendezvous_id: A name for one start of several processes, which all of them find out through a store that has
"""
