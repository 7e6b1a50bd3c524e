"""OpenCV as the limited processes need it: no threads of its own and no graphics card.

A fork carries one thread only, and a locked process can open no driver.
"""

import cv2


def tame() -> None:
    """Before OpenCV is first used in a process that forks."""
    cv2.setNumThreads(1)
    cv2.ocl.setUseOpenCL(False)
