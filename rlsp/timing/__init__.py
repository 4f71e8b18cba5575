"""Run time, memory and energy of models, all timed side by side in one job on one device.

``cases`` says what is timed, ``timed`` runs one case, ``turns`` all of them in turns, ``tables`` writes what came out;
``sweep`` varies one quantity for the cost curves, ``memory`` measures peaks in processes of their own.
"""
