"""HTML pages: report.html, the page of a test (`page.Page`), and index.html, the page of all runs (`runs_page`).

- page: Page
- runs_page: the page of all runs
- templating: the Jinja2 environment; the templates are in templates/
- task_reports: what the page of each task shows; class_sections, regression_sections, image_sections: the sections
- curve_sections: curves over the epochs of runs
- feature_columns: the features of samples of a table
- sections: tables, charts and galleries that sections consist of
- predictions_table: reads predictions.csv
- intervals: confidence intervals
- class_labels: names, cut in the middle
- confusion_matrix: layout of the matrix, most confused pairs
- matrix_pictures: confusion_matrix.svg and confusion_matrix.png
- score_histograms: ROC and precision-recall curves
- svg_plots: plots
- gallery_page: the page of --predict
- embedded_images: images as data URLs
- sample_images: draws samples
"""
