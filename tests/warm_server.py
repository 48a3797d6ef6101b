"""Imported by the server that programs are forked from, for what all of them would do by themselves."""

from tests.shortcuts import warm_up

warm_up()
